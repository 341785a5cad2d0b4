// Command hw-tool does the test cluster's small tasks. It uses the standard library alone, so that one static file is
// all that an image needs.
//
//	pause                         the program of a pod's sandbox
//	echo                          says over HTTP and UDP which pod answered on which node, and to whom
//	get URL                       one HTTP request
//	forward NETNS PORTS [AS=TO…]  the machine's loopback into the cluster's network
//	image OUT.tar …               an image archive from directories
//
// Called by the name pause, it is that.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

const usage = `usage: hw-tool pause
       hw-tool echo                         (PORT, NODE_NAME)
       hw-tool get URL
       hw-tool forward NETNS PORTS NAME=HOST:PORT ...
       hw-tool image OUT.tar --tag NAME:TAG ... --layer DIRECTORY ... [--entrypoint PATH]`

func main() {
	name, args := filepath.Base(os.Args[0]), os.Args[1:]
	if name != "pause" && len(args) > 0 {
		name, args = args[0], args[1:]
	}
	var err error
	switch name {
	case "pause":
		pause()
	case "echo":
		err = echo()
	case "get":
		err = get(args)
	case "forward":
		err = forward(args)
	case "relay":
		err = relay(args)
	case "image":
		err = image(args)
	default:
		err = errUsage
	}
	switch err {
	case nil:
	case errUsage:
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
