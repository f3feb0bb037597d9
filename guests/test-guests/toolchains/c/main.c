// Answers a message with two numbers: how often it was initialised, and how many messages it has seen. Of a message it
// reads the beginning only. `exit N` exits, `trap` traps, `fail` fails the message.
//
// A library, and a program with its constructors exported.
// build: zig cc -target wasm32-wasi -mexec-model=reactor -O2 -s -o main.wasm main.c
// build: zig cc -target wasm32-wasi -Wl,--export=__wasm_call_ctors -O2 -s -o command.wasm main.c

#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>

static int initialised, seen;

__attribute__((constructor)) static void initialise(void) {
    initialised++;
}

__attribute__((export_name("poll"))) int answer(void) {
    char message[32] = "";
    int code, failed = 0;
    seen++;
    fread(message, 1, sizeof message - 1, stdin);
    if (sscanf(message, "exit %d", &code) == 1) {
        exit(code);
    } else if (strcmp(message, "trap") == 0) {
        abort();
    } else if (strcmp(message, "fail") == 0) {
        failed = 1;
    } else {
        printf("%d %d", initialised, seen);
    }
    fflush(stdout);
    __fpurge(stdin); // what was read ahead
    clearerr(stdin); // the end of this message
    return failed;
}

int main(void) {
    return answer();
}
