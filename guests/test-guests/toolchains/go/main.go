// Answers a message with two numbers: how often it was initialised, and how many messages it has seen. Of a message it
// reads the beginning only. `exit N` exits, `trap` panics, `nil` follows no pointer, `fail` fails the message, `wait`
// answers from another goroutine after a moment.
//
// build: GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags=-s -o main.wasm .
// build: GOOS=wasip1 GOARCH=wasm go build -ldflags=-s -o plain.wasm main.go

package main

import (
	"fmt"
	"os"
	"time"
)

var initialised, seen int

func init() {
	initialised++
}

//go:wasmexport poll
func poll() int32 {
	seen++
	message := make([]byte, 32)
	length, _ := os.Stdin.Read(message)
	message = message[:length]
	var code int
	if _, err := fmt.Sscanf(string(message), "exit %d", &code); err == nil {
		os.Exit(code)
	}
	switch string(message) {
	case "trap":
		panic("a panic on purpose")
	case "nil":
		var nowhere *[]int
		fmt.Print(len(*nowhere))
	case "fail":
		return 1
	case "wait":
		done := make(chan struct{})
		go func() {
			time.Sleep(time.Millisecond)
			close(done)
		}()
		<-done
	}
	fmt.Print(initialised, seen)
	return 0
}

func main() {
	os.Exit(int(poll()))
}
