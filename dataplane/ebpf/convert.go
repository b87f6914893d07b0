package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// part says where bytes of an old key or value are in the new one.
type part struct {
	from, to, size int
	mapped         bool // an IPv4 address that is mapped into IPv6 now
}

// converter makes entries of a map of this layout out of those of an older one.
type converter struct {
	key, value         []part
	keySize, valueSize int // of this layout
}

// newConverter compares an old map with what it is to be.
func newConverter(old *ebpf.Map, spec *ebpf.MapSpec) (*converter, error) {
	types, err := typesOf(old)
	if err != nil {
		return nil, err
	}
	c := &converter{keySize: int(spec.KeySize), valueSize: int(spec.ValueSize)}
	if c.key, err = parts(types, int(old.KeySize()), spec.Key, c.keySize); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if c.value, err = parts(types, int(old.ValueSize()), spec.Value, c.valueSize); err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	return c, nil
}

// typesOf returns the structures that a map was made with, by name.
func typesOf(m *ebpf.Map) (map[string]*btf.Struct, error) {
	handle, err := m.Handle()
	if err != nil {
		return nil, fmt.Errorf("the types of what it holds: %w", err)
	}
	defer handle.Close()
	spec, err := handle.Spec(nil)
	if err != nil {
		return nil, fmt.Errorf("the types of what it holds: %w", err)
	}
	types := map[string]*btf.Struct{}
	for t, err := range spec.All() {
		if err != nil {
			return nil, fmt.Errorf("the types of what it holds: %w", err)
		}
		if s, ok := t.(*btf.Struct); ok {
			types[s.Name] = s
		}
	}
	return types, nil
}

// parts compares an old type with a new one: what has the same name is the same.
// What was a number and is a structure now is its first field.
func parts(old map[string]*btf.Struct, oldSize int, new btf.Type, newSize int) ([]part, error) {
	is, ok := btf.UnderlyingType(new).(*btf.Struct)
	if !ok {
		return onePart("number", 0, oldSize, 0, newSize)
	}
	was := old[is.Name]
	if was == nil {
		size, err := btf.Sizeof(is.Members[0].Type)
		if err != nil {
			return nil, err
		}
		return onePart(is.Members[0].Name, 0, oldSize, 0, size)
	}
	var all []part
	for _, field := range is.Members {
		for _, before := range was.Members {
			if before.Name != field.Name || strings.HasPrefix(field.Name, "pad") {
				continue
			}
			to, err := btf.Sizeof(field.Type)
			if err != nil {
				return nil, err
			}
			from, err := btf.Sizeof(before.Type)
			if err != nil {
				return nil, err
			}
			p, err := onePart(is.Name+"."+field.Name, int(before.Offset.Bytes()), from, int(field.Offset.Bytes()), to)
			if err != nil {
				return nil, err
			}
			all = append(all, p...)
		}
	}
	return all, nil
}

func onePart(name string, from, oldSize, to, newSize int) ([]part, error) {
	switch {
	case oldSize == newSize:
		return []part{{from: from, to: to, size: newSize}}, nil
	case oldSize == 4 && newSize == 16:
		return []part{{from: from, to: to, size: 4, mapped: true}}, nil
	}
	return nil, fmt.Errorf("%s had %d bytes and has %d now", name, oldSize, newSize)
}

func fill(parts []part, old []byte, size int) []byte {
	new := make([]byte, size)
	for _, p := range parts {
		from := old[p.from : p.from+p.size]
		to := new[p.to:]
		if p.mapped && binary.NativeEndian.Uint32(from) != 0 {
			to[10], to[11] = 0xff, 0xff
		}
		if p.mapped {
			to = to[12:]
		}
		copy(to, from)
	}
	return new
}

// batch is how many entries are read at once.
const batch = 4096

// each yields the entries of an old map that are not all zero, as this layout has
// them. Entries that come or go meanwhile may be among them.
func (c *converter) each(old *ebpf.Map, yield func(key, value []byte) error) error {
	// The kernel wants to know how many entries there is room for.
	room := func(size uint32) reflect.Value {
		return reflect.MakeSlice(reflect.SliceOf(reflect.ArrayOf(int(size), reflect.TypeFor[byte]())), batch, batch)
	}
	keys, values := room(old.KeySize()), room(old.ValueSize())
	isArray := old.Type() == ebpf.Array
	var cursor ebpf.MapBatchCursor
	for {
		n, err := old.BatchLookup(&cursor, keys.Interface(), values.Interface(), nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
		for i := range n {
			key, value := keys.Index(i).Slice(0, int(old.KeySize())).Bytes(), values.Index(i).Slice(0, int(old.ValueSize())).Bytes()
			if isArray && zero(value) {
				continue
			}
			if err := yield(fill(c.key, key, c.keySize), fill(c.value, value, c.valueSize)); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

func zero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// copyCounters copies what is counted for each CPU apart, which has been the
// same in all layouts.
func (c *converter) copyCounters(old, new *ebpf.Map) error {
	if old.ValueSize() != new.ValueSize() {
		return fmt.Errorf("counters had %d bytes and have %d now", old.ValueSize(), new.ValueSize())
	}
	key, values := make([]byte, old.KeySize()), []dswitchCounter(nil)
	entries := old.Iterate()
	for entries.Next(&key, &values) {
		if err := new.Update(fill(c.key, key, c.keySize), values, ebpf.UpdateAny); err != nil {
			return err
		}
	}
	return entries.Err()
}

func decode(b []byte, into any) error {
	_, err := binary.Decode(b, binary.NativeEndian, into)
	return err
}

func mappedWords(addr uint32) (words [4]uint32) {
	if addr != 0 {
		words[2], words[3] = binary.NativeEndian.Uint32([]byte{0, 0, 0xff, 0xff}), addr
	}
	return words
}
