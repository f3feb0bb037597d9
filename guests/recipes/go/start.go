package main

// For sync mode as well: a library has no `_start` of its own.
//
//go:wasmexport _start
func start() {
	main()
}
