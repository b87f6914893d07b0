package lab

import "testing"

// TestInventoryNamesMembersOnce looks for each member of the DPC by its node: the first
// is "dpc", and has no other name there.
func TestInventoryNamesMembersOnce(t *testing.T) {
	l := &Lab{opt: Options{Name: "x"}, members: []*Member{{Name: "dpc-1", node: dpcNode}, {Name: "dpc-2", node: "dpc-2"}}}
	inv := l.inventory()
	if len(inv.Members) != 1 {
		t.Errorf("further members: %v", inv.Members)
	}
	for _, m := range l.members {
		if ns, err := inv.NamespaceOf(m.node); err != nil || ns != prefix("x")+m.node {
			t.Errorf("%s is in %q, %v", m.node, ns, err)
		}
	}
	if ns, err := inv.NamespaceOf("dpc-1"); err == nil {
		t.Errorf("dpc-1 is said to be in %s, which is not there", ns)
	}
}
