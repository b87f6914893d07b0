package lab

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dove.network/dove"
)

// Inventory is what a running lab has, for those who play with it from outside.
type Inventory struct {
	Name string `json:"name"`
	PID  int    `json:"pid"` // of who holds the lab
	// Metrics is where the dpc tells its metrics and health, by HTTP, to who
	// asks from the underlay.
	Metrics netip.AddrPort `json:"metrics"`
	Members []Node         `json:"members,omitempty"` // further ones of the DPC
	Hosts   []Node         `json:"hosts"`
	Guests  []Entry        `json:"guests"`
}

// Node is a host, or a member of the DPC.
type Node struct {
	Name  string     `json:"name"`
	VTEP  netip.Addr `json:"vtep"`
	State string     `json:"state"` // folder with the dswitch's socket and log
	// Metrics is where its dswitch tells its metrics and health.
	Metrics netip.AddrPort `json:"metrics"`
}

// Entry is a guest.
type Entry struct {
	Endpoint  string       `json:"endpoint"`
	Host      string       `json:"host"`
	Device    string       `json:"device"`
	Addresses []netip.Addr `json:"addresses"`
}

func inventoryPath(name string) string { return filepath.Join(Root, name, "lab.json") }

// inventory returns what the lab has.
func (l *Lab) inventory() Inventory {
	inv := Inventory{Name: l.opt.Name, PID: os.Getpid(), Metrics: netip.AddrPortFrom(l.opt.addr(dpcNumber), dpcMetricsPort)}
	for _, m := range l.members[1:] { // the first is "dpc" itself
		inv.Members = append(inv.Members, Node{m.Name, m.Addr, m.state, netip.AddrPortFrom(m.Addr, dpcMetricsPort)})
	}
	for _, h := range l.hosts {
		inv.Hosts = append(inv.Hosts, Node{h.Name, h.VTEP, h.dir, h.metrics()})
	}
	for _, g := range l.guests {
		inv.Guests = append(inv.Guests, Entry{g.Name(), g.Host, g.Device, g.Addrs})
	}
	return inv
}

// SaveInventory writes what the lab has now.
func (l *Lab) SaveInventory() error {
	inv := l.inventory()
	b, err := json.MarshalIndent(inv, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(inventoryPath(l.opt.Name), append(b, '\n'), 0o600)
}

// ReadInventory reads what a running lab has.
func ReadInventory(name string) (Inventory, error) {
	var inv Inventory
	b, err := os.ReadFile(inventoryPath(name))
	if errors.Is(err, os.ErrNotExist) {
		return inv, fmt.Errorf("no lab %q is running: start it with: dovelab up --name %s", name, name)
	}
	if err != nil {
		return inv, err
	}
	return inv, json.Unmarshal(b, &inv)
}

// Running lists the labs that have an inventory.
func Running() []string {
	files, _ := filepath.Glob(filepath.Join(Root, "*", "lab.json"))
	var names []string
	for _, f := range files {
		names = append(names, filepath.Base(filepath.Dir(f)))
	}
	return names
}

// NamespaceOf returns the name of the network namespace of a node: "dpc", a
// further member of it, a host, or a guest as "tenant/endpoint".
func (inv Inventory) NamespaceOf(node string) (string, error) {
	switch {
	case node == "dpc", slices.ContainsFunc(slices.Concat(inv.Members, inv.Hosts), func(n Node) bool { return n.Name == node }):
		return prefix(inv.Name) + node, nil
	case slices.ContainsFunc(inv.Guests, func(e Entry) bool { return e.Endpoint == node }):
		return prefix(inv.Name) + guestNS(node), nil
	}
	known := []string{"dpc"}
	for _, n := range slices.Concat(inv.Members, inv.Hosts) {
		known = append(known, n.Name)
	}
	for _, e := range inv.Guests {
		known = append(known, e.Endpoint)
	}
	return "", fmt.Errorf("there is no %q in lab %q; there are: %s", node, inv.Name, strings.Join(known, ", "))
}

// Guest returns a guest as one who asks from it needs it.
func (inv Inventory) Guest(name string) (*Guest, error) {
	i := slices.IndexFunc(inv.Guests, func(e Entry) bool { return e.Endpoint == name })
	if i < 0 {
		_, err := inv.NamespaceOf(name)
		return nil, cmp.Or(err, fmt.Errorf("%s is no guest", name))
	}
	e := inv.Guests[i]
	f, err := os.Open("/run/netns/" + prefix(inv.Name) + guestNS(name))
	if err != nil {
		return nil, err
	}
	tenant, id, _ := strings.Cut(name, "/")
	return &Guest{Endpoint: dove.Endpoint{Tenant: dove.Tenant(tenant), ID: dove.EndpointID(id)},
		Host: e.Host, Device: e.Device, Addrs: e.Addresses, ns: &Namespace{Name: f.Name(), file: f}}, nil
}

// AdminConfig is the file with which dovectl talks to the lab's DPC.
func (inv Inventory) AdminConfig() string { return filepath.Join(Root, inv.Name, "dpc", "admin.yaml") }
