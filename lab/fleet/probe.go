package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"dove.network/auth"
	"dove.network/control"
)

// probes is what a process of its own asks when it is to, one question after the other, so that nothing
// in this one holds its answers up.
type probes struct {
	Address string // of the dpc
	Hosts   []probing
}

// probing is a host, whose credentials are in a folder, and what it asks.
type probing struct {
	Folder    string
	Sessions  uint64 // that it opened
	Questions []control.Question
}

// probeFile is in the folder that Probe is given.
const probeFile = "probe.json"

// probed is one question: when it was asked and how long it took.
type probed struct{ Begun, Took int64 } // in ns, the former since 1970

// Probe asks what a folder says, and writes how long each answer took. It begins when it reads a line,
// rests after the next, and so on until there is nothing more to read or ctx ends. It is the other
// process of ControlBench.
func Probe(ctx context.Context, folder string, in io.Reader, out io.Writer) error {
	var p probes
	text, err := os.ReadFile(filepath.Join(folder, probeFile))
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		return err
	}
	hosts := make([]*host, len(p.Hosts))
	for i, of := range p.Hosts {
		credentials, err := auth.LoadHost(of.Folder)
		if err != nil {
			return err
		}
		hosts[i] = &host{name: credentials.Identity.Host, vtep: credentials.Identity.VTEP, credentials: credentials, sessions: of.Sessions}
		if err := hosts[i].open(ctx, p.Address); err != nil {
			return err
		}
		defer hosts[i].close()
	}
	turns := make(chan struct{})
	go func() {
		defer close(turns)
		for is := bufio.NewScanner(in); is.Scan(); {
			turns <- struct{}{}
		}
	}()
	lines := bufio.NewWriter(out)
	told := time.Now()
	_, more := <-turns
	for random := rand.New(rand.NewPCG(6, 7)); more && ctx.Err() == nil; {
		select {
		case <-turns:
			_, more = <-turns
			continue
		default:
		}
		i := random.IntN(len(hosts))
		of := p.Hosts[i].Questions
		question := []control.Question{of[random.IntN(len(of))]}
		begun := time.Now()
		for {
			if _, err := hosts[i].ask(ctx, question); err == nil {
				break
			} else if ctx.Err() != nil {
				return err
			}
			if err := hosts[i].open(ctx, p.Address); err != nil { // it was sent elsewhere, perhaps
				return err
			}
		}
		took := time.Since(begun)
		fmt.Fprintln(lines, begun.UnixNano(), took.Nanoseconds())
		if time.Since(told) > probeTold {
			told = time.Now()
			if err := lines.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	probeTold      = 50 * time.Millisecond // between what Probe writes
	probeHosts     = 16                    // at most a quarter of all
	probeQuestions = 1024                  // of each
	probeWithin    = time.Minute           // until it asks, and until it tells
)

// prober is a process that runs Probe.
type prober struct {
	cmd *exec.Cmd
	in  io.WriteCloser

	mu   sync.Mutex
	all  []probed
	more chan struct{} // closed when there are more, or no more
	err  error         // why there are no more
}

// probed returns the hosts that ask in the other process: the last ones.
func (f *fleet) probed() []*host {
	return f.hosts[len(f.hosts)-max(1, min(probeHosts, len(f.hosts)/4)):]
}

// probe makes a process in which hosts of a fleet ask its dpc. Here they have no session then.
func (r *run) probe(f *fleet) (*prober, error) {
	folder, err := os.MkdirTemp(f.dpc.dir, "probe-")
	if err != nil {
		return nil, err
	}
	p := probes{Address: f.dpc.control}
	of := f.probed()
	for i, h := range of {
		h.close()
		its := probing{Folder: filepath.Join(folder, string(h.name)), Sessions: h.sessions + 1<<20}
		if err := h.credentials.Save(its.Folder); err != nil {
			return nil, err
		}
		for range probeQuestions {
			from := f.onHost(r.random, len(f.hosts)-len(of)+i)
			its.Questions = append(its.Questions, f.question(from, f.peer(r.random, from)))
		}
		p.Hosts = append(p.Hosts, its)
	}
	text, err := json.Marshal(p)
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, probeFile), text, 0o600)
	}
	if err != nil {
		return nil, err
	}
	cmd := ahead(r.ctx, append(slices.Clone(r.Prober), folder)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	b := &prober{cmd: cmd, in: in, more: make(chan struct{})}
	go b.listen(out)
	// Once it asks, its sessions are open.
	if _, err := b.while(func() (from, to time.Time, err error) { now := time.Now(); return now, now, nil }); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// while has the process ask while something goes on, and returns how many microseconds each
// question took that waited for its answer in the time that it says.
func (p *prober) while(goesOn func() (from, to time.Time, err error)) ([]float64, error) {
	if _, err := io.WriteString(p.in, "begin\n"); err != nil {
		return nil, err
	}
	from, to, err := goesOn()
	if err != nil {
		return nil, err
	}
	us, err := p.between(from, to)
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(p.in, "rest\n")
	return us, err
}

// listen takes what the process tells.
func (p *prober) listen(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var is probed
		_, err := fmt.Sscan(lines.Text(), &is.Begun, &is.Took)
		p.mu.Lock()
		p.all, p.err = append(p.all, is), errors.Join(p.err, err)
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
	p.mu.Lock()
	p.err = errors.Join(p.err, lines.Err(), errors.New("the process that asks has ended"))
	close(p.more)
	p.mu.Unlock()
}

// between returns how many microseconds each question took that waited for its answer in a span
// of time: also one that was asked before it, and perhaps answered after it.
func (p *prober) between(from, to time.Time) (us []float64, err error) {
	late := time.After(probeWithin)
	for {
		p.mu.Lock()
		all, more, err := p.all, p.more, p.err
		p.mu.Unlock()
		switch {
		case err != nil:
			return nil, err
		case len(all) > 0 && all[len(all)-1].Begun >= to.UnixNano():
			for _, is := range all {
				if is.Begun+is.Took > from.UnixNano() && is.Begun < to.UnixNano() {
					us = append(us, float64(is.Took)/1000)
				}
			}
			return us, nil
		}
		select {
		case <-more:
		case <-late:
			return nil, fmt.Errorf("the process that asks told nothing for %s", probeWithin)
		}
	}
}

// close ends the process.
func (p *prober) close() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()         // it was killed
}
