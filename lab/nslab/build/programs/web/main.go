// Web answers every request with 200 and its host name, for measuring whether users notice an upgrade.
//
// PORT (default 8080) is where it listens. After SIGTERM it keeps answering for DRAIN_SECONDS
// (default 5), because the endpoint is withdrawn from Services at the same time and not before; /readyz
// answers 503 from then on. Then it ends open requests within 10 s.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

const requestTimeout = 10 * time.Second

func number(variable string, otherwise int) int {
	if value, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return value
	}
	return otherwise
}

func handler(draining *atomic.Bool) http.Handler {
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if draining.Load() {
			http.Error(w, "draining", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

func main() {
	ended, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var draining atomic.Bool
	server := &http.Server{
		Addr:              fmt.Sprintf(":%d", number("PORT", 8080)),
		Handler:           handler(&draining),
		ReadHeaderTimeout: requestTimeout,
	}
	go func() {
		if err := server.ListenAndServe(); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	<-ended.Done()
	draining.Store(true)
	time.Sleep(time.Duration(number("DRAIN_SECONDS", 5)) * time.Second)
	closing, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	if err := server.Shutdown(closing); err != nil {
		log.Fatal(err)
	}
}
