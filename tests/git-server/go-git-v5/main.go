// Command go-git-v5-server serves the bare repositories below a directory over smart HTTP with go-git v5's
// server package, which leaves HTTP to its users. It prints its address once it listens.
package main

import (
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/server"
)

const service = "git-upload-pack"

type handler struct{ git transport.Transport }

func (h handler) session(path string) (transport.UploadPackSession, error) {
	endpoint, err := transport.NewEndpoint("/" + strings.Trim(path, "/"))
	if err != nil {
		return nil, err
	}
	return h.git.NewUploadPackSession(endpoint, nil)
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if path, ok := strings.CutSuffix(r.URL.Path, "/info/refs"); ok && r.URL.Query().Get("service") == service {
		fail(w, h.advertise(w, path))
	} else if path, ok := strings.CutSuffix(r.URL.Path, "/"+service); ok && r.Method == http.MethodPost {
		fail(w, h.uploadPack(w, r, path))
	} else {
		http.NotFound(w, r)
	}
}

func (h handler) advertise(w http.ResponseWriter, path string) error {
	session, err := h.session(path)
	if err != nil {
		return err
	}
	refs, err := session.AdvertisedReferences()
	if err != nil {
		return err
	}
	refs.Prefix = [][]byte{[]byte("# service=" + service), pktline.Flush}
	w.Header().Set("Content-Type", "application/x-"+service+"-advertisement")
	return refs.Encode(w)
}

func (h handler) uploadPack(w http.ResponseWriter, r *http.Request, path string) error {
	session, err := h.session(path)
	if err != nil {
		return err
	}
	request := packp.NewUploadPackRequest()
	if err := request.Decode(r.Body); err != nil {
		return err
	}
	response, err := session.UploadPack(r.Context(), request)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-"+service+"-result")
	return response.Encode(w)
}

// fail answers with an error, if there is one; without effect on an answer that has begun.
func fail(w http.ResponseWriter, err error) {
	switch {
	case err == nil:
	case errors.Is(err, transport.ErrRepositoryNotFound):
		http.Error(w, err.Error(), http.StatusNotFound)
	default:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprintln(os.Stderr, "listening", listener.Addr())
	loader := server.NewFilesystemLoader(osfs.New(os.Args[1]))
	log.Fatal(http.Serve(listener, handler{server.NewServer(loader)}))
}
