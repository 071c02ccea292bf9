// Command go-git-v6-server serves the bare repositories below a directory over smart HTTP with go-git v6's own
// backend. It prints its address once it listens.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/go-git/go-billy/v6/osfs"
	"github.com/go-git/go-git/v6/backend"
	"github.com/go-git/go-git/v6/plumbing/transport"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintln(os.Stderr, "listening", listener.Addr())
	git := backend.New(transport.NewFilesystemLoader(osfs.New(os.Args[1]), true))
	git.ErrorLog = log.Default()
	log.Fatal(http.Serve(listener, git))
}
