// A server of net/http, with the half second in which clients let go of their connections.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/activation"
	"github.com/coreos/go-systemd/daemon"
)

func main() {
	listeners, err := activation.Listeners()
	if err != nil || len(listeners) != 1 {
		log.Fatal(listeners, err)
	}
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(300 * time.Millisecond)
		}
		fmt.Fprintln(w, os.Getpid(), os.Getenv("SRVWRAP_SLOT"), os.Getenv("SRVWRAP_GENERATION"))
	}
	var draining atomic.Bool
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if draining.Load() {
			w.Header().Set("Connection", "close")
		}
		answer(w, r)
	})}
	var silent sync.Map // connections on which no request has come: Shutdown would wait five seconds for each
	server.ConnState = func(connection net.Conn, state http.ConnState) {
		if state == http.StateNew {
			silent.Store(connection, nil)
		} else {
			silent.Delete(connection)
		}
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)
	daemon.SdNotify(false, daemon.SdNotifyReady)
	go server.Serve(listeners[0])
	<-told
	draining.Store(true)
	listeners[0].Close()
	time.Sleep(500 * time.Millisecond)
	silent.Range(func(connection, _ any) bool {
		connection.(net.Conn).Close()
		return true
	})
	server.Shutdown(context.Background())
}
