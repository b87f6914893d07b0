package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"dove.network/daemon"
	"dove.network/dove"
)

// PlugRequest is the body of POST /v1/plug and /v1/unplug.
type PlugRequest struct {
	Endpoint string `json:"endpoint"`         // "tenant/id"
	Device   string `json:"device,omitempty"` // "" takes an earlier plug or unplug back
}

// PlugReply says what the endpoint's port is now; State is "unassigned" where the
// DPC has not assigned the endpoint to this host (yet).
type PlugReply struct {
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`
	Device string `json:"device,omitempty"`
}

// FollowFor is how long GET /v1/drops?follow=true waits for a drop.
const FollowFor = 20 * time.Second

// socketServer serves the local socket.
type socketServer struct {
	http http.Server
	path string
}

func (s *socketServer) close() error {
	return errors.Join(s.http.Close(), ignoreMissing(os.Remove(s.path)))
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// serve opens the local socket, for its owner alone.
func (a *Agent) serve() (*socketServer, error) {
	path := a.options.Socket
	if conn, err := net.Dial("unix", path); err == nil {
		return nil, errors.Join(fmt.Errorf("%s answers already: another dswitch runs with this state folder", path), conn.Close())
	}
	if err := ignoreMissing(os.Remove(path)); err != nil {
		return nil, fmt.Errorf("clear the local socket: %w", err)
	}
	// It gets its name only once nobody else can open it.
	hidden := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := ignoreMissing(os.Remove(hidden)); err != nil {
		return nil, fmt.Errorf("clear the local socket: %w", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: hidden, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open the local socket: %w", err)
	}
	listener.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(hidden, 0o600), os.Rename(hidden, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("open the local socket: %w", err), listener.Close())
	}
	s := &socketServer{path: path, http: http.Server{Handler: a.handler(), ReadHeaderTimeout: 5 * time.Second}}
	go func() {
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("the local socket is closed", "err", err)
		}
	}()
	return s, nil
}

func (a *Agent) handler() http.Handler {
	mux := http.NewServeMux()
	daemon.Health{Alive: a.Alive, Ready: a.Ready}.Register(mux)
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		var out Status
		answer(w, r, a.call(r.Context(), func() {
			out = a.core.Status()
			out.Answers = a.measures.answers()
			out.Trouble = a.trouble
		}), &out)
	})
	mux.HandleFunc("GET /v1/held", func(w http.ResponseWriter, r *http.Request) {
		var out HeldRows
		answer(w, r, a.call(r.Context(), func() { out = a.core.Held() }), &out)
	})
	mux.HandleFunc("GET /v1/counts", func(w http.ResponseWriter, r *http.Request) {
		counts, err := a.options.Switch.Counts()
		var out []CountRecord
		answer(w, r, errors.Join(err, a.call(r.Context(), func() { out = a.countRecords(counts) })), &out)
	})
	mux.HandleFunc("GET /v1/flows", func(w http.ResponseWriter, r *http.Request) {
		flows, err := a.options.Switch.Flows()
		var out []FlowRecord
		answer(w, r, errors.Join(err, a.call(r.Context(), func() { out = a.flowRecords(flows) })), &out)
	})
	mux.HandleFunc("GET /v1/drops", a.serveDrops)
	mux.HandleFunc("POST /v1/plug", func(w http.ResponseWriter, r *http.Request) {
		a.servePlug(w, r, func(e dove.Endpoint, device string) (Event, error) {
			return Plug{e, device}, a.core.CheckPlug(e, device)
		})
	})
	mux.HandleFunc("POST /v1/unplug", func(w http.ResponseWriter, r *http.Request) {
		a.servePlug(w, r, func(e dove.Endpoint, _ string) (Event, error) { return Unplug{e}, nil })
	})
	return mux
}

// statusOf gives the HTTP status of each kind of error; 500 otherwise.
var statusOf = map[dove.Kind]int{
	dove.Invalid:  http.StatusBadRequest,
	dove.NotFound: http.StatusNotFound,
	dove.Conflict: http.StatusConflict,
	dove.TooLarge: http.StatusRequestEntityTooLarge,
}

// answer writes the body, or the error as {"error": text}.
func answer(w http.ResponseWriter, r *http.Request, err error, body any) {
	if r.Context().Err() != nil {
		return // nobody listens
	}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status, ok := statusOf[dove.KindOf(err)]
		if !ok {
			status = http.StatusInternalServerError
		}
		w.WriteHeader(status)
		body = map[string]string{"error": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(body) // fails only if nobody listens
}

func (a *Agent) serveDrops(w http.ResponseWriter, r *http.Request) {
	since := uint64(0)
	if text := r.FormValue("since"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			answer(w, r, dove.Errorf(dove.Invalid, "since=%s: give the number of the last drop that you have", text), nil)
			return
		}
		since = n
	}
	follow := r.FormValue("follow") == "true"
	timeout := time.NewTimer(FollowFor)
	defer timeout.Stop()
	for {
		var out Drops
		var more chan struct{}
		err := a.call(r.Context(), func() { out, more = a.drops.since(since), a.drops.more })
		if err != nil || len(out.Drops) > 0 || !follow {
			answer(w, r, err, out)
			return
		}
		select {
		case <-more:
		case <-timeout.C:
			follow = false
		case <-a.stopped:
			follow = false
		case <-r.Context().Done():
			return
		}
	}
}

func (a *Agent) servePlug(w http.ResponseWriter, r *http.Request, event func(dove.Endpoint, string) (Event, error)) {
	var request PlugRequest
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		answer(w, r, dove.Errorf(dove.Invalid, "the body is not {\"endpoint\": \"tenant/id\", \"device\": \"name\"}: %v", err), nil)
		return
	}
	e, err := ParseEndpoint(request.Endpoint)
	if err != nil {
		answer(w, r, err, nil)
		return
	}
	var reply PlugReply
	callErr := a.call(r.Context(), func() {
		var ev Event
		if ev, err = event(e, request.Device); err != nil {
			return
		}
		a.step(ev)
		reply = PlugReply{State: "unassigned"}
		if as := a.core.assignments[e]; as != nil {
			p := a.core.portStatus(as)
			reply = PlugReply{p.State, p.Detail, p.Device}
		}
	})
	answer(w, r, errors.Join(callErr, err), reply)
}

// ParseEndpoint reads "tenant/id". Its errors are of kind dove.Invalid.
func ParseEndpoint(s string) (dove.Endpoint, error) {
	tenant, id, ok := strings.Cut(s, "/")
	if !ok || dove.CheckName(tenant) != nil || dove.CheckName(id) != nil {
		return dove.Endpoint{}, dove.Errorf(dove.Invalid, "endpoint %q is not of the form tenant/id", s)
	}
	return dove.Endpoint{Tenant: dove.Tenant(tenant), ID: dove.EndpointID(id)}, nil
}
