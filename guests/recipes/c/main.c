// build: zig cc -target wasm32-wasi -mexec-model=reactor -O2 -s -o main.wasm main.c

#include <stdio.h>
#include <stdlib.h>

static int seen;

__attribute__((export_name("poll"))) int answer(void) {
    char part[4096];
    size_t length;
    printf("%d ", ++seen);
    while ((length = fread(part, 1, sizeof part, stdin)) > 0) {
        fwrite(part, 1, length, stdout);
    }
    int failed = ferror(stdin) || fflush(stdout) != 0;
    clearerr(stdin); // this message is over, the next is not
    return failed;
}

// For sync mode as well: a reactor has no `_start` of its own.
__attribute__((export_name("_start"))) void start(void) {
    exit(answer());
}
