package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

var errUsage = errors.New("usage")

// pause takes over and ends orphans until it is told to end, as the usual sandbox program does.
func pause() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for it := range signals {
		if it != syscall.SIGCHLD {
			return
		}
		for {
			var status syscall.WaitStatus
			if pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}

// echo answers each request with the names of pod and node and the client's address as the server saw it. A request
// with ?bytes=N is answered with N zero bytes.
func echo() error {
	host, _ := os.Hostname()
	node := os.Getenv("NODE_NAME")
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	packets, err := net.ListenPacket("udp", ":"+port)
	if err != nil {
		return err
	}
	go func() {
		buffer := make([]byte, 65536)
		for {
			n, client, err := packets.ReadFrom(buffer)
			if err != nil {
				continue
			}
			packets.WriteTo([]byte(fmt.Sprintf("pod=%s node=%s client=%s %s", host, node, client, buffer[:n])), client)
		}
	}()
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if wanted := r.URL.Query().Get("bytes"); wanted != "" {
			left, err := strconv.Atoi(wanted)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			for block := make([]byte, 4096); left > 0; left -= len(block) {
				w.Write(block[:min(left, len(block))])
			}
			return
		}
		local := r.Context().Value(http.LocalAddrContextKey)
		fmt.Fprintf(w, "pod=%s node=%s client=%s local=%s\n", host, node, r.RemoteAddr, local)
	})
	return http.ListenAndServe(":"+port, nil)
}

// get prints what one HTTP request is answered with.
func get(args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}
