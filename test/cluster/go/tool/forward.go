package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// forward listens on the loopback of the network namespace that it is started in, on ports that the kernel chooses,
// and lets connections be made from the namespace NETNS.
//
// A socket belongs to the namespace that it was made in. So the listeners are made here and handed on to this program
// started again inside NETNS: neither place gets a link, an address or a route for it.
//
// PORTS is written when all listen: one line `NAME PORT` each.
func forward(args []string) error {
	if len(args) < 3 {
		return errUsage
	}
	netns, file, targets := args[0], args[1], args[2:]
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return err
	}
	command := []string{nsenter, "--net=" + netns, "/proc/self/exe", "relay"}
	if command[2], err = os.Executable(); err != nil {
		return err
	}
	ports := ""
	for _, target := range targets {
		name, to, found := strings.Cut(target, "=")
		if !found {
			return fmt.Errorf("expected NAME=HOST:PORT, found %q", target)
		}
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		inherited, err := listener.(*net.TCPListener).File()
		if err != nil {
			return err
		}
		// Without close-on-exec: that is what handing on means here.
		fd, err := syscall.Dup(int(inherited.Fd()))
		if err != nil {
			return err
		}
		ports += fmt.Sprintf("%s %d\n", name, listener.Addr().(*net.TCPAddr).Port)
		command = append(command, fmt.Sprintf("%d=%s", fd, to))
	}
	if err := os.WriteFile(file+".new", []byte(ports), 0o644); err != nil {
		return err
	}
	if err := os.Rename(file+".new", file); err != nil {
		return err
	}
	return syscall.Exec(nsenter, command, os.Environ())
}

// relay serves listeners that it was started with: FD=HOST:PORT each.
func relay(args []string) error {
	failed := make(chan error)
	for _, arg := range args {
		number, to, _ := strings.Cut(arg, "=")
		fd, err := strconv.Atoi(number)
		if err != nil {
			return errUsage
		}
		listener, err := net.FileListener(os.NewFile(uintptr(fd), arg))
		if err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
		go func() { failed <- serve(listener, to) }()
	}
	return <-failed
}

func serve(listener net.Listener, to string) error {
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer client.Close()
			server, err := net.DialTimeout("tcp", to, 10*time.Second)
			if err != nil {
				// A reset, not an empty answer: the caller sees a failed connection, as it would without a relay.
				client.(*net.TCPConn).SetLinger(0)
				return
			}
			defer server.Close()
			done := make(chan struct{}, 2)
			go pass(server, client, done)
			go pass(client, server, done)
			<-done
			<-done
		}()
	}
}

// pass copies one direction and tells its end to the other side; the reverse direction goes on.
func pass(to, from net.Conn, done chan<- struct{}) {
	io.Copy(to, from)
	to.(*net.TCPConn).CloseWrite()
	done <- struct{}{}
}
