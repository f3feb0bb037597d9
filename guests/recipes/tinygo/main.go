// build: tinygo build -target=wasip1 -buildmode=c-shared -o main.wasm .

package main

import (
	"io"
	"os"
	"strconv"
)

var seen int

//export poll
func poll() int32 {
	seen++
	os.Stdout.WriteString(strconv.Itoa(seen) + " ")
	if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
		return 1
	}
	return 0
}

func main() {
	os.Exit(int(poll()))
}
