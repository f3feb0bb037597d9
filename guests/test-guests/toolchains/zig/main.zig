// Answers a message with two numbers: how often it was initialised, and how many messages it has seen. Of a message it
// reads the beginning only. `exit N` exits, `trap` panics, `fail` fails the message.
//
// build: zig build-exe -target wasm32-wasi -mexec-model=reactor -rdynamic -O ReleaseSmall -femit-bin=main.wasm main.zig

const std = @import("std");

var threaded: std.Io.Threaded = .init_single_threaded;
var io: std.Io = undefined;
var initialised: u32 = 0;
var seen: u32 = 0;

pub fn main() void {
    io = threaded.io();
    initialised += 1;
}

export fn poll() u8 {
    answer() catch return 1;
    return 0;
}

export fn _start() void {
    std.process.exit(poll());
}

fn answer() !void {
    seen += 1;
    var message: [32]u8 = undefined;
    var stdin = std.Io.File.stdin().readerStreaming(io, &.{});
    const length = try stdin.interface.readSliceShort(&message);
    const text = message[0..length];
    if (std.mem.startsWith(u8, text, "exit ")) std.process.exit(try std.fmt.parseInt(u8, text[5..], 10));
    if (std.mem.eql(u8, text, "trap")) @panic("a panic on purpose");
    if (std.mem.eql(u8, text, "fail")) return error.OnPurpose;
    var output: [64]u8 = undefined;
    var stdout = std.Io.File.stdout().writerStreaming(io, &output);
    try stdout.interface.print("{d} {d}", .{ initialised, seen });
    try stdout.interface.flush();
}
