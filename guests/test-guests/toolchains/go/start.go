package main

//go:wasmexport _start
func start() {
	main()
}
