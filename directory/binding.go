package directory

import "dove.network/dove"

// Binding says which host an endpoint is bound to, and since which epoch. Host
// is "" while it is bound to none; Epoch is that of the last binding.
type Binding struct {
	Host  dove.HostName
	Epoch dove.Epoch
}

// May reports whether a host may ask from the endpoint's network as the
// endpoint: whether it is bound to it.
func (b Binding) May(host dove.HostName) bool { return host != "" && b.Host == host }

// Standing is what a claim to an endpoint is worth.
type Standing uint8

// Standings of a claim.
const (
	Holds    Standing = iota // the claim is the binding
	Foreign                  // the endpoint is not bound to the host: the claim never wins
	Outdated                 // the host means an earlier binding of its own: it must be told the present one
	Ahead                    // the host heard of a binding that the judge does not know yet: ask again, deny nothing
)

func (s Standing) String() string { return [...]string{"holds", "foreign", "outdated", "ahead"}[s] }

// Judge compares a host's claim with the binding. Epochs only grow, over all
// hosts and lives of the endpoint, so of two claims the one with the older epoch loses,
// whenever it arrives.
func (b Binding) Judge(host dove.HostName, epoch dove.Epoch) Standing {
	switch {
	case epoch > b.Epoch:
		return Ahead
	case !b.May(host):
		return Foreign
	case epoch < b.Epoch:
		return Outdated
	}
	return Holds
}
