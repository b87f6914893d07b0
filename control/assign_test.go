package control

import (
	"net/netip"
	"reflect"
	"testing"

	"dove.network/dove"
)

// TestAssignDigest changes each field of an assignment in turn, also within its parts:
// the digest is another one for all but the revision.
func TestAssignDigest(t *testing.T) {
	a := Assign{
		Address: []Address{{}}, Subnets: []netip.Prefix{{}}, Gateways: []Gateway{{Addrs: []netip.Addr{{}}}}, Allowed: []Allowed{{}},
	}
	seen := map[Digest]string{a.Digest(): "nothing"}
	other := map[reflect.Type]reflect.Value{
		reflect.TypeFor[netip.Addr]():   reflect.ValueOf(netip.MustParseAddr("192.0.2.1")),
		reflect.TypeFor[netip.Prefix](): reflect.ValueOf(netip.MustParsePrefix("192.0.2.0/24")),
		reflect.TypeFor[dove.MAC]():     reflect.ValueOf(dove.MAC{2, 1}),
	}
	var walk func(path string, v reflect.Value)
	try := func(path string, v, value reflect.Value) {
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		v.Set(value)
		is := a.Digest()
		v.Set(was)
		if before, ok := seen[is]; ok != (path == ".Revision") {
			t.Errorf("with %s changed the digest is that of %s", path, before)
		}
		seen[is] = path
	}
	walk = func(path string, v reflect.Value) {
		if value, ok := other[v.Type()]; ok {
			try(path, v, value)
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for f, field := range v.Fields() {
				walk(path+"."+f.Name, field)
			}
		case reflect.Slice:
			try(path+"[1]", v, reflect.Append(v, v.Index(0)))
			walk(path+"[0]", v.Index(0))
		case reflect.String:
			try(path, v, reflect.ValueOf("x").Convert(v.Type()))
		case reflect.Bool:
			try(path, v, reflect.ValueOf(true))
		default:
			try(path, v, reflect.ValueOf(7).Convert(v.Type()))
		}
	}
	walk("", reflect.ValueOf(&a).Elem())
	if len(seen) < 35 {
		t.Errorf("only %d changes were tried", len(seen))
	}
}

// TestEqualPeers changes each field of a row in turn: what differs is not equal.
func TestEqualPeers(t *testing.T) {
	var a, b Peer
	if !a.Equal(&b) {
		t.Fatal("equal rows are not equal")
	}
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		switch kind := v.Kind(); {
		case v.Type() == reflect.TypeFor[netip.Addr]():
			v.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.1")))
		case kind == reflect.Struct:
			for f, field := range v.Fields() {
				walk(path+"."+f.Name, field)
			}
			return
		case kind == reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		case kind == reflect.Array:
			v.Index(0).SetUint(7)
		case kind == reflect.String:
			v.SetString("x")
		case kind == reflect.Bool:
			v.SetBool(true)
		default:
			v.Set(reflect.ValueOf(7).Convert(v.Type()))
		}
		if a.Equal(&b) || b.Equal(&a) {
			t.Errorf("rows that differ in %s are equal", path)
		}
		v.Set(was)
	}
	walk("", reflect.ValueOf(&a).Elem())
}
