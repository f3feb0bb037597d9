// build: zig build-exe -target wasm32-wasi -mexec-model=reactor -rdynamic -O ReleaseSmall -femit-bin=main.wasm main.zig

const std = @import("std");

var threaded: std.Io.Threaded = .init_single_threaded;
var io: std.Io = undefined;
var seen: u32 = 0;

/// A reactor exports this as `_initialize`: it runs once, before the first message.
pub fn main() void {
    io = threaded.io();
}

export fn poll() u8 {
    answer() catch return 1;
    return 0;
}

/// For sync mode as well: a reactor has no `_start` of its own.
export fn _start() void {
    std.process.exit(poll());
}

fn answer() !void {
    var input: [4096]u8 = undefined;
    var output: [4096]u8 = undefined;
    var stdin = std.Io.File.stdin().readerStreaming(io, &input);
    var stdout = std.Io.File.stdout().writerStreaming(io, &output);
    seen += 1;
    try stdout.interface.print("{d} ", .{seen});
    _ = try stdin.interface.streamRemaining(&stdout.interface);
    try stdout.interface.flush();
}
