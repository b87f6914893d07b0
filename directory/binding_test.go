package directory_test

import (
	"testing"

	"dove.network/directory"
	"dove.network/dove"
)

func TestJudge(t *testing.T) {
	bound := directory.Binding{Host: "h1", Epoch: 5}
	unbound := directory.Binding{Epoch: 5}
	for _, test := range []struct {
		binding directory.Binding
		host    dove.HostName
		epoch   dove.Epoch
		want    directory.Standing
		may     bool
	}{
		{bound, "h1", 5, directory.Holds, true},
		{bound, "h1", 4, directory.Outdated, true},
		{bound, "h1", 6, directory.Ahead, true},
		{bound, "h2", 5, directory.Foreign, false},
		{bound, "h2", 4, directory.Foreign, false},
		{bound, "h2", 6, directory.Ahead, false},
		{bound, "", 5, directory.Foreign, false},
		{unbound, "h1", 5, directory.Foreign, false},
		{unbound, "", 5, directory.Foreign, false},
		{directory.Binding{}, "h1", 0, directory.Foreign, false},
	} {
		if got := test.binding.Judge(test.host, test.epoch); got != test.want {
			t.Errorf("%+v: host %q with epoch %d: %v, want %v", test.binding, test.host, test.epoch, got, test.want)
		}
		if got := test.binding.May(test.host); got != test.may {
			t.Errorf("%+v: host %q may: %v", test.binding, test.host, got)
		}
	}
}
