package sim

import (
	"fmt"
	"hash"
	"hash/crc32"
	"hash/fnv"
	"io"

	"google.golang.org/protobuf/proto"
)

// trail is what happened in a run: a digest, and lines for a reader if there is one.
type trail struct {
	sum    hash.Hash64
	events uint64
	lines  io.Writer
}

// Record has the simulation remember what happens from now on as a digest, and write
// it line by line if there is a writer.
func (s *Sim) Record(lines io.Writer) { s.trail = &trail{sum: fnv.New64a(), lines: lines} }

// Trail is the digest of all that happened since Record, and how many things did.
func (s *Sim) Trail() (digest, events uint64) { return s.trail.sum.Sum64(), s.trail.events }

// Jot remembers what whoever drives the simulation says.
func (s *Sim) Jot(format string, args ...any) { s.jot(format, args...) }

// jot remembers that something happened.
func (s *Sim) jot(format string, args ...any) {
	t := s.trail
	if t == nil {
		return
	}
	t.events++
	line := fmt.Appendf(nil, "%s ", s.now.Sub(Start))
	line = append(fmt.Appendf(line, format, args...), '\n')
	t.sum.Write(line)
	if t.lines != nil {
		_, _ = t.lines.Write(line) // whoever reads them finds out
	}
}

// jotMessage remembers a message, by its bytes.
func (s *Sim) jotMessage(from any, session any, m any, out proto.Message) {
	if s.trail == nil {
		return
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(out)
	if err != nil {
		s.fault("what %s says has no wire form: %w", from, err)
	}
	s.jot("%s says in session %v %T, %d bytes, %08x", from, session, m, len(b), crc32.ChecksumIEEE(b))
}
