// SPDX-License-Identifier: 0BSD

// Package srvwrap is the worker protocol of srvwrap, in one file to copy into a directory of your module.
//
//	sockets := srvwrap.Listeners()     // serve on these
//	go srvwrap.OnShutdown(finish)()    // finish() is called once, when this process is to end
//	srvwrap.Online()                   // now srvwrap knows that it serves
//
// Not run by srvwrap, all four do nothing, and Listeners is empty. Unix only. Nothing runs beside what the caller runs,
// but for the goroutine that reads what srvwrap writes, from when OnShutdown's waits.
package srvwrap

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Online says that connections are accepted.
func Online() {
	say("online")
}

// Offline says that this process is about to end and is to be replaced. Finish and exit afterwards: nobody will ask.
func Offline(why string) {
	say(strings.TrimSpace("offline " + strings.Join(strings.Fields(why), " ")))
}

// OnShutdown takes SIGTERM and SIGINT from this call on. What it returns waits for one of them or for the line from
// srvwrap, and then calls finish: run it in a goroutine. It is to lead to this: close the listeners, answer for half a
// second with "Connection: close", close what is idle, exit.
func OnShutdown(finish func()) func() {
	stream := notice()
	if stream == nil {
		return func() {}
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	return func() {
		told := make(chan struct{})
		go readUntilTold(stream, told)
		select {
		case <-signals:
		case <-told:
		}
		finish()
	}
}

// Listeners gives the listening sockets, in the operator's order. They are given once: a second call is a mistake.
func Listeners() []net.Listener {
	var found []net.Listener
	for notice() != nil {
		variable := fmt.Sprintf("LISTEN_FD_%d", len(found))
		file := inherited(variable, syscall.SO_ACCEPTCONN)
		if file == nil {
			break
		}
		if listener, err := net.FileListener(file); err == nil {
			found = append(found, listener)
		}
		file.Close() // the listener has its own
	}
	return found
}

// The line, the end of the stream and an error all mean that it is time to go.
func readUntilTold(stream net.Conn, told chan<- struct{}) {
	lines := bufio.NewReader(stream)
	line, err := lines.ReadString('\n')
	for err == nil && strings.TrimRight(line, "\r\n") != `"shutdown"` {
		line, err = lines.ReadString('\n')
	}
	close(told)
}

func say(line string) {
	if stream := notice(); stream != nil {
		_, _ = stream.Write([]byte(line + "\n")) // that it fails means that srvwrap is gone, and will take this along
	}
}

var once sync.Once
var stream net.Conn

func notice() net.Conn {
	once.Do(func() {
		if file := inherited("NOTIFY_FD", syscall.SO_TYPE); file != nil {
			stream, _ = net.FileConn(file)
			file.Close() // stream has its own
		}
	})
	return stream
}

// The socket whose number is in this variable, or nil. What package net makes of it is kept from children.
func inherited(variable string, option int) *os.File {
	text, isSet := os.LookupEnv(variable)
	if !isSet {
		return nil
	}
	if descriptor, err := strconv.Atoi(text); err == nil {
		is, err := syscall.GetsockoptInt(descriptor, syscall.SOL_SOCKET, option)
		if err == nil && is != 0 {
			return os.NewFile(uintptr(descriptor), variable)
		}
	}
	kind := map[int]string{syscall.SO_TYPE: "open socket", syscall.SO_ACCEPTCONN: "listening socket"}[option]
	fmt.Fprintf(os.Stderr, "%s=%s is no %s: what stands between srvwrap and this program has closed it\n",
		variable, text, kind)
	os.Exit(1)
	return nil
}
