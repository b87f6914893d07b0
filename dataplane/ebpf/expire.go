package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"dove.network/dataplane"
	"dove.network/dove"
)

// Expire forgets flows and absent marks whose time is over. They have no effect
// before, but take up room. Call it every few seconds, and every second while much was forgotten: it looks
// at each flow, some 0.5 s for a million, in pieces between which the CPU is free and other calls go on.
func (s *Switch) Expire() (much bool, err error) {
	err = s.expireAbsent()
	flows, failed := s.collect(nil)
	return flows > s.options.FlowsPerPort/64, errors.Join(err, failed)
}

func (s *Switch) expireAbsent() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := monotonic()
	for key, end := range s.absent {
		if end > now {
			continue
		}
		if err := s.delAbsent(key); err != nil {
			return err
		}
	}
	return nil
}

// collect forgets the flows that have expired and those of a port that closes, if one is
// given; if that is on standby, its endpoint has moved, and what goes on at the other end
// stays. It returns how many flows it deleted.
func (s *Switch) collect(of *dataplane.Port) (deleted uint32, err error) {
	w := &s.sweeper
	err = errors.Join(sweep(s, s.maps.Flows4, w.keys4, 0, of, &deleted), sweep(s, s.maps.Flows6, w.keys6, 1, of, &deleted))
	if err != nil {
		return deleted, fmt.Errorf("forget old flows: %w", err)
	}
	return deleted, nil
}

// sweeper is room for a piece of a flow table, and for the flows in it that seem over. Its lock
// is held for a piece, and taken after the switch's.
type sweeper struct {
	sync.Mutex
	keys4  []dswitchFlow4Key
	keys6  []dswitchFlow6Key
	flows  []dswitchFlow
	named  []dswitchFlow6Key
	places []uint32 // of these
}

// newSweeper makes room for pieces as large as a program takes them.
func (s *Switch) newSweeper() {
	piece := s.maps.Named.MaxEntries()
	w := &s.sweeper
	w.keys4, w.keys6, w.flows = make([]dswitchFlow4Key, piece), make([]dswitchFlow6Key, piece), make([]dswitchFlow, piece)
	w.named, w.places = make([]dswitchFlow6Key, 0, piece), make([]uint32, piece)
	for i := range w.places {
		w.places[i] = uint32(i)
	}
}

// sweep has a program forget flows of one family, and adds how many.
func sweep[K interface{ wide() dswitchFlow6Key }](s *Switch, m *ebpf.Map, keys []K, v6 uint32, of *dataplane.Port, deleted *uint32) error {
	w := &s.sweeper
	return inPieces(&w.Mutex, m, keys, w.flows, func(n int) error {
		now := uint32(monotonic() / tick)
		w.named = w.named[:0]
		for i := range n {
			f := &w.flows[i]
			if expired(f, now) || of != nil && concerns(of, f, keys[i].wide()) {
				w.named = append(w.named, keys[i].wide())
			}
		}
		gone, err := s.gc(v6, of)
		*deleted += gone
		return err
	})
}

// expired reports whether a flow's time is over, as the program of the same name does.
func expired(f *dswitchFlow, now uint32) bool {
	return time.Duration(int32(now-f.Last))*tick > dataplane.FlowBits(f.State&flowCarried).TimeOut(dove.Protocol(f.Proto))
}

// concerns reports whether a flow may go with a port: it counts as one of the port's, or an
// end of it is where the port's address is.
func concerns(p *dataplane.Port, f *dswitchFlow, k dswitchFlow6Key) bool {
	has := func(words [4]uint32) bool {
		addr := mappedAddr(words)
		if slices.ContainsFunc(p.Addresses, func(a dataplane.Address) bool { return a.Addr == addr }) {
			return true
		}
		_, permitted := p.Permits(addr)
		return permitted
	}
	return f.Port == uint32(p.ID) || has(k.Lo) || has(k.Hi)
}

// gc runs the program that looks again at the flows that are named, and forgets them.
func (s *Switch) gc(v6 uint32, of *dataplane.Port) (deleted uint32, err error) {
	named := s.sweeper.named
	if len(named) == 0 {
		return 0, nil
	}
	args := dswitchGcArgs{Named: uint32(len(named)), V6: v6}
	if of != nil {
		args.Port = uint32(of.ID)
		if of.Standby {
			args.Moved = 1
		}
	}
	if _, err := s.maps.Named.BatchUpdate(s.sweeper.places[:len(named)], named, nil); err != nil {
		return 0, fmt.Errorf("map named: %w", err)
	}
	out := make([]byte, binary.Size(args))
	if _, err := s.programs.Gc.Run(&ebpf.RunOptions{Context: args, ContextOut: out}); err != nil {
		return 0, err
	}
	_, err = binary.Decode(out, binary.NativeEndian, &args)
	return args.Deleted, err
}

// wide is a flow's key as the programs are told it, whatever its family.
func (k dswitchFlow4Key) wide() dswitchFlow6Key {
	return dswitchFlow6Key{Vni: k.Vni, Lo: mappedWords(k.Lo), Hi: mappedWords(k.Hi), LoPort: k.LoPort, HiPort: k.HiPort, Proto: k.Proto}
}

func (k dswitchFlow6Key) wide() dswitchFlow6Key { return k }

// inPieces reads a flow table, as many entries in one go as there is room for, and calls each with
// how many these are. The lock is free between the pieces.
func inPieces[K any](lock sync.Locker, m *ebpf.Map, keys []K, flows []dswitchFlow, each func(n int) error) error {
	var cursor ebpf.MapBatchCursor
	piece := func() error {
		lock.Lock()
		defer lock.Unlock()
		n, err := m.BatchLookup(&cursor, keys, flows, nil)
		if failed := each(n); failed != nil {
			return failed
		}
		return err
	}
	for {
		switch err := piece(); {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return nil
		case err != nil:
			return err
		}
	}
}
