// A server of gin, with the half second in which clients let go of their connections.
package main

import (
	"context"
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
	"github.com/gin-gonic/gin"
)

func main() {
	listeners, err := activation.Listeners()
	if err != nil || len(listeners) != 1 {
		log.Fatal(listeners, err)
	}
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	var draining atomic.Bool
	router.Use(func(c *gin.Context) {
		if draining.Load() {
			c.Header("Connection", "close")
		}
	})
	answer := func(c *gin.Context) {
		c.String(200, "%d %s %s\n", os.Getpid(), os.Getenv("SRVWRAP_SLOT"), os.Getenv("SRVWRAP_GENERATION"))
	}
	router.GET("/", answer)
	router.GET("/slow", func(c *gin.Context) {
		time.Sleep(300 * time.Millisecond)
		answer(c)
	})

	server := &http.Server{Handler: router}
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
