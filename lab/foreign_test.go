package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"dove.network/api"
	"dove.network/dove"
	"dove.network/scenario"
)

// TestForeignHost declares a host that has the kernel's own VXLAN device instead
// of a dSwitch, and binds an endpoint to it: it talks with one behind a dSwitch
// as the policy says, and no receipt waits for it.
func TestForeignHost(t *testing.T) {
	s, err := scenario.Parse([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, "foreign")
	st, err := NewStage(t.Context(), l, s)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if tally := scenario.Run(t.Context(), s, st, nil); tally.Failed > 0 {
		t.Fatalf("%+v", tally)
	}
	vtep := l.opt.addr(100)
	if _, err := l.api.PutHost(t.Context(), "store", api.HostSpec{VTEP: vtep, Foreign: true, Plain: true}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := l.api.CreateJoinToken(t.Context(), "store", time.Hour); err == nil {
		t.Error("a foreign host got a token to join")
	}
	e, err := l.api.PutEndpoint(t.Context(), dove.Endpoint{Tenant: "acme", ID: "app-2"}, api.EndpointSpec{Groups: []string{"shop/app"}, Host: "store"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	network, err := l.api.Network(t.Context(), dove.Network{Tenant: "acme", Name: "net"})
	if err != nil {
		t.Fatal(err)
	}
	machine, err := l.namespace("store")
	if err != nil {
		t.Fatal(err)
	}
	guest, err := l.namespace("app-2")
	if err != nil {
		t.Fatal(err)
	}
	h1, _ := l.Host("h1")
	err = errors.Join(
		l.connect(machine, "store", vtep),
		machine.IP("link add eth0 address "+fmt.Sprint(e.MAC)+" mtu 1450 netns "+guest.Name+" type veth peer name p",
			fmt.Sprintf("link add vx type vxlan id %d local %v dstport 4789", network.VNI, vtep),
			"link add name br0 type bridge", "link set vx master br0 up", "link set p master br0 up", "link set br0 up"),
		run("bridge", "-n", machine.Name, "fdb", "append", "00:00:00:00:00:00", "dev", "vx", "dst", h1.VTEP.String()),
		guest.IP(fmt.Sprintf("addr add %s/24 dev eth0", e.Addresses[0]), "link set eth0 up"),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []string{"8080", "8081"} {
		var listener net.Listener
		if err := guest.Do(func() (err error) { listener, err = net.Listen("tcp", ":"+port); return err }); err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		go func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(c, port)
				c.Close()
			}
		}()
	}
	web := st.guest(dove.Endpoint{Tenant: "acme", ID: "web-1"})
	ask := func(port string, patience time.Duration) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, err := web.ns.DialContext(ctx, "tcp", net.JoinHostPort(fmt.Sprint(e.Addresses[0]), port))
		if err != nil {
			return "", err
		}
		defer c.Close()
		b := make([]byte, 16)
		n, err := c.Read(b)
		return string(b[:n]), err
	}
	if said, err := ask("8080", 30*time.Second); err != nil || said != "8080" {
		t.Errorf("what is allowed: %q, %v", said, err)
	}
	if said, err := ask("8081", time.Second); !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("what is forbidden: %q, %v", said, err)
	}
	r, err := l.api.Receipt(t.Context(), e.Revision, 0)
	if err != nil || len(r.Unconfirmed) != 0 {
		t.Errorf("the receipt: %+v, %v", r, err)
	}
}
