// build: GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags=-s -o main.wasm .

package main

import (
	"fmt"
	"io"
	"os"
)

var seen int

//go:wasmexport poll
func poll() int32 {
	seen++
	fmt.Printf("%d ", seen)
	if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
		return 1
	}
	return 0
}

func main() {
	os.Exit(int(poll()))
}
