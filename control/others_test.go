package control

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dove.network/dove"
)

// heard is a member of whose one session with h2 the ledger has heard.
func heard(t *testing.T) *Ledger {
	t.Helper()
	l := NewLedger(10, nil, "m2")
	complete(t, l, 10, Receipt{Members: []string{"m2"}})
	if got := l.Strangers(); !slices.Equal(got, []string{"m2"}) {
		t.Fatalf("strangers %v", got)
	}
	l.Reach("m2", 7, at(0))
	l.Hear("m2", &Present{First: true, Hosts: []Presence{{Host: "h2", Session: 5, Phase: PhaseLive}}}, at(0))
	l.Advance("m2", &Progress{Applied: 10, Settled: 10}, at(0))
	return l
}

func complete(t *testing.T, l *Ledger, revision dove.Revision, want Receipt, unconfirmed ...dove.HostName) {
	t.Helper()
	got := l.Receipt(revision, unconfirmed)
	want.Revision, want.Unconfirmed = revision, unconfirmed
	want.Committed, want.Completed, want.Took, want.Told = got.Committed, got.Completed, got.Took, got.Told
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("receipt of revision %d (-want +got):\n%s", revision, diff)
	}
}

func TestReceiptsWaitForOtherMembers(t *testing.T) {
	l := heard(t)
	l.Commit(11, nil, at(1))
	complete(t, l, 11, Receipt{Members: []string{"m2"}})
	l.Advance("m2", &Progress{Applied: 11, Settled: 10}, at(2))
	complete(t, l, 11, Receipt{Members: []string{"m2"}})
	l.Lag("m2", &Behind{Revision: 11, Hosts: []Lag{{"h2", 11}}})
	complete(t, l, 11, Receipt{Pending: []dove.HostName{"h2"}})
	l.Advance("m2", &Progress{Applied: 11, Settled: 11}, at(3))
	complete(t, l, 11, Receipt{Complete: true})
}

func TestHostsOfAMemberThatIsGoneAreUnknown(t *testing.T) {
	l := heard(t)
	l.Part("m2", at(1))
	l.Commit(11, nil, at(1))
	l.Ask(nil, at(1))
	complete(t, l, 10, Receipt{Complete: true}) // it had said so
	complete(t, l, 11, Receipt{Unknown: []UnknownHost{{"h2", "m2"}}})
	if member, _ := l.Away("h2"); member != "" || l.Astray("h2") != "m2" {
		t.Error("a member that is gone has a session")
	}
	// It comes here: until it acknowledges, it may lack what it was told there.
	l.Open(1, "h2", 6, 11)
	complete(t, l, 11, Receipt{Pending: []dove.HostName{"h2"}})
	if err := l.Ack(1, 11, nil, at(2)); err != nil {
		t.Fatal(err)
	}
	complete(t, l, 11, Receipt{Complete: true})
	// The member is back, and still says that it has the host, by an older session.
	l.Reach("m2", 7, at(3))
	l.Hear("m2", &Present{First: true, Hosts: []Presence{{Host: "h2", Session: 5, Phase: PhaseEnded, First: 11, Last: 11}}}, at(3))
	l.Advance("m2", &Progress{Applied: 11, Settled: 11}, at(3))
	complete(t, l, 11, Receipt{Complete: true})
}

func TestWhatASessionElsewhereLeftOpen(t *testing.T) {
	l := heard(t)
	l.Commit(11, nil, at(1))
	l.Advance("m2", &Progress{Applied: 11, Settled: 10}, at(1))
	l.Hear("m2", &Present{Hosts: []Presence{{Host: "h2", Session: 5, Phase: PhaseEnded, First: 11, Last: 11}}}, at(2))
	l.Advance("m2", &Progress{Applied: 11, Settled: 11}, at(2))
	complete(t, l, 11, Receipt{Pending: []dove.HostName{"h2"}}, "h2")
	// A later session with any member makes up for it, an earlier one does not.
	l.Reach("m3", 1, at(3))
	l.Hear("m3", &Present{First: true, Hosts: []Presence{{Host: "h2", Session: 4, Phase: PhaseLive}}}, at(3))
	l.Advance("m3", &Progress{Applied: 11, Settled: 11}, at(3))
	complete(t, l, 11, Receipt{Pending: []dove.HostName{"h2"}})
	l.Hear("m3", &Present{Hosts: []Presence{{Host: "h2", Session: 6, Phase: PhaseOpening}}}, at(4))
	complete(t, l, 11, Receipt{Pending: []dove.HostName{"h2"}})
	l.Hear("m3", &Present{Hosts: []Presence{{Host: "h2", Session: 6, Phase: PhaseLive}}}, at(5))
	complete(t, l, 11, Receipt{Complete: true})
	// What it failed at there is known here, until it says otherwise.
	l.Hear("m3", &Present{Hosts: []Presence{{Host: "h2", Session: 6, Phase: PhaseLive, Failed: []Failure{{11, "no room"}}}}}, at(6))
	complete(t, l, 11, Receipt{Failed: []HostFailure{{"h2", "no room"}}})
	l.Hear("m3", &Present{Hosts: []Presence{{Host: "h2", Session: 6, Phase: PhaseLive}}}, at(7))
	complete(t, l, 11, Receipt{Complete: true})
}

// TestAHostThatOpensWithAMemberThatIsGone leaves this member before it acknowledged, for one that was
// as far as all of its own, and is not reached then.
func TestAHostThatOpensWithAMemberThatIsGone(t *testing.T) {
	l := heard(t)
	l.Open(1, "h1", 1, 10)
	if err := l.Ack(1, 10, nil, at(0)); err != nil {
		t.Fatal(err)
	}
	l.Commit(11, []SessionID{1}, at(1))
	l.Advance("m2", &Progress{Applied: 11, Settled: 11}, at(1))
	l.Close(1, at(2))
	l.Hear("m2", &Present{Hosts: []Presence{{Host: "h1", Session: 2, Phase: PhaseOpening}}}, at(2))
	complete(t, l, 11, Receipt{Pending: []dove.HostName{"h1"}})
	l.Part("m2", at(3))
	complete(t, l, 11, Receipt{Unknown: []UnknownHost{{"h1", "m2"}}})
	l.Reach("m2", 7, at(4))
	l.Hear("m2", &Present{First: true, Hosts: []Presence{{Host: "h1", Session: 2, Phase: PhaseLive}, {Host: "h2", Session: 5, Phase: PhaseLive}}}, at(4))
	l.Advance("m2", &Progress{Applied: 11, Settled: 11}, at(4))
	complete(t, l, 11, Receipt{Complete: true})
}

// TestWhoSaysThatASessionEndedWhichGoesOn is a member that cannot reach the one that has it.
func TestWhoSaysThatASessionEndedWhichGoesOn(t *testing.T) {
	l := heard(t)
	l.Reach("m3", 1, at(1))
	l.Hear("m3", &Present{First: true, Hosts: []Presence{{Host: "h2", Session: 5, Phase: PhaseEnded, First: 10, Last: 11}}}, at(1))
	l.Advance("m3", &Progress{Applied: 11, Settled: 11}, at(1))
	l.Commit(11, nil, at(1))
	complete(t, l, 11, Receipt{Pending: nil, Members: []string{"m2"}})
	l.Advance("m2", &Progress{Applied: 11, Settled: 11}, at(2))
	complete(t, l, 11, Receipt{Complete: true})
}

func TestAMemberThatStartsAnewOrIsRemoved(t *testing.T) {
	for name, gone := range map[string]func(l *Ledger){
		"starts anew": func(l *Ledger) {
			l.Reach("m2", 8, at(2))
			l.Hear("m2", &Present{First: true}, at(2))
			l.Advance("m2", &Progress{Applied: 11, Settled: 11}, at(2))
		},
		"is removed": func(l *Ledger) { l.Dismiss("m2", at(2)) },
	} {
		l := heard(t)
		l.Part("m2", at(1))
		l.Commit(11, nil, at(1))
		gone(l)
		// Nobody knows what the host was told: it is as if its session had ended.
		complete(t, l, 11, Receipt{Pending: []dove.HostName{"h2"}}, "h2")
		if l.Astray("h2") != "" {
			t.Errorf("%s: the host is unknown for ever", name)
		}
	}
	// One that was never reached holds up all, until it is presumed to have no sessions.
	l := NewLedger(10, nil)
	l.Part("m2", at(0))
	l.Commit(11, nil, at(1))
	complete(t, l, 11, Receipt{Members: []string{"m2"}})
	l.Presume("m2", at(2))
	l.Ask(nil, at(2))
	complete(t, l, 11, Receipt{Complete: true})
}

// TestWhoMayHaveLeftForAMemberThatIsGone is a host whose session here goes on, as far as is known: nobody says
// otherwise, so what it was not told of is complete only once it has acknowledged something since.
func TestWhoMayHaveLeftForAMemberThatIsGone(t *testing.T) {
	l := NewLedger(10, nil, "m2")
	l.Reach("m2", 7, at(0))
	l.Hear("m2", &Present{First: true}, at(0))
	l.Advance("m2", &Progress{Applied: 10, Settled: 10}, at(0))
	l.Open(1, "h1", 1, 10)
	l.Open(2, "h2", 2, 10)
	ack := func(id SessionID, r dove.Revision) {
		t.Helper()
		if err := l.Ack(id, r, nil, at(3)); err != nil {
			t.Fatal(err)
		}
	}
	ack(1, 10)
	ack(2, 10)
	l.Part("m2", at(1))
	l.Commit(11, []SessionID{1}, at(1))
	ack(1, 11)
	complete(t, l, 10, Receipt{Complete: true})
	complete(t, l, 11, Receipt{Members: []string{"m2"}})
	if !l.Unsure() || l.Own() != 10 {
		t.Errorf("unsure: %v, all here enforce %d", l.Unsure(), l.Own())
	}
	l.Commit(12, []SessionID{1}, at(2))
	l.Ask([]SessionID{2}, at(2))
	complete(t, l, 11, Receipt{Complete: true}) // of 12, each has one to acknowledge
	complete(t, l, 12, Receipt{Pending: []dove.HostName{"h1", "h2"}})
	ack(1, 12)
	complete(t, l, 12, Receipt{Pending: []dove.HostName{"h2"}})
	ack(2, 12)
	complete(t, l, 12, Receipt{Complete: true})
	// Once the member is reached it says whom it has.
	l.Commit(13, nil, at(4))
	l.Reach("m2", 7, at(5))
	l.Hear("m2", &Present{First: true, Hosts: []Presence{{Host: "h2", Session: 3, Phase: PhaseLive}}}, at(5))
	complete(t, l, 13, Receipt{Members: []string{"m2"}})
	l.Advance("m2", &Progress{Applied: 13, Settled: 13}, at(5))
	complete(t, l, 13, Receipt{Complete: true})
}

// TestAListNamesAnEarlierSession has a host whose clock was set back open another session with its member,
// while that is not reached: it is the one that there is.
func TestAListNamesAnEarlierSession(t *testing.T) {
	l := heard(t)
	l.Part("m2", at(1))
	l.Reach("m2", 7, at(2))
	l.Hear("m2", &Present{First: true, Hosts: []Presence{{Host: "h2", Session: 3, Phase: PhaseLive}}}, at(2))
	if member, session := l.Away("h2"); member != "m2" || session != 3 {
		t.Errorf("h2 has session %d with %q", session, member)
	}
}

// TestGapsAreToldWhereverTheHostIs has a member pass on what a host lacks that opens a
// session with a third, which the one that hears it does not reach.
func TestGapsAreToldWhereverTheHostIs(t *testing.T) {
	l := heard(t)
	l.Commit(11, nil, at(1))
	l.Hear("m2", &Present{Hosts: []Presence{
		{Host: "h2", Session: 5, Phase: PhaseEnded, First: 11, Last: 11}, {Host: "h2", Session: 6, Phase: PhaseOpening}}}, at(1))
	want := []Presence{{Host: "h2", Session: 5, Phase: PhaseEnded, First: 11, Last: 11}}
	if diff := cmp.Diff(want, l.Gaps()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	third := NewLedger(11, nil, "m1")
	third.Reach("m1", 3, at(2))
	third.Hear("m1", &Present{First: true, Hosts: l.Gaps()}, at(2))
	third.Advance("m1", &Progress{Applied: 11, Settled: 11}, at(2))
	complete(t, third, 11, Receipt{Pending: []dove.HostName{"h2"}}, "h2")
	// Once it acknowledges there, nothing is missing, and nothing is told.
	l.Hear("m2", &Present{Hosts: []Presence{{Host: "h2", Session: 6, Phase: PhaseLive}}}, at(3))
	if gaps := l.Gaps(); len(gaps) > 0 {
		t.Errorf("told %v", gaps)
	}
	// Who knows of a later session does not take it that something is missing.
	later := heard(t)
	later.Hear("m2", &Present{Hosts: []Presence{{Host: "h2", Session: 6, Phase: PhaseLive}}}, at(3))
	later.Reach("m3", 4, at(3))
	later.Hear("m3", &Present{First: true, Hosts: want}, at(3))
	if later.Lost("h2") {
		t.Error("h2 lacks what it has acknowledged")
	}
}

// TestALaterGapIsKnownFirst has a member that is behind hear of what a host lacks of revisions
// that it has not applied, and then miss the host in one before those.
func TestALaterGapIsKnownFirst(t *testing.T) {
	l := heard(t)
	l.Hear("m2", &Present{Hosts: []Presence{{Host: "h2", Session: 5, Phase: PhaseEnded, First: 14, Last: 15}}}, at(1))
	l.Advance("m2", &Progress{Applied: 15, Settled: 15}, at(1))
	l.Miss("h2", 11)
	for r := dove.Revision(11); r <= 15; r++ {
		l.Commit(r, nil, at(2))
	}
	for _, p := range Presents(true, l.Gaps()) {
		if _, err := DecodeAcross(EncodeAcross(p)); err != nil {
			t.Errorf("another member is told what it cannot read: %v", err)
		}
	}
	complete(t, l, 15, Receipt{Pending: []dove.HostName{"h2"}}, "h2")
}

// TestAHostThatCameBeforeItsMemberWasMissed has its session here, or with another member, when the one
// that it left is found not to be reached: nobody waits for what that one would say of it.
func TestAHostThatCameBeforeItsMemberWasMissed(t *testing.T) {
	for name, comes := range map[string]func(l *Ledger){
		"here": func(l *Ledger) {
			l.Open(1, "h2", 6, 11)
			if err := l.Ack(1, 11, nil, at(2)); err != nil {
				t.Fatal(err)
			}
		},
		"elsewhere": func(l *Ledger) {
			l.Reach("m3", 1, at(2))
			l.Hear("m3", &Present{First: true, Hosts: []Presence{{Host: "h2", Session: 6, Phase: PhaseLive}}}, at(2))
			l.Advance("m3", &Progress{Applied: 11, Settled: 11}, at(2))
		},
	} {
		l := heard(t)
		l.Commit(11, nil, at(1))
		comes(l)
		complete(t, l, 11, Receipt{Members: []string{"m2"}})
		l.Part("m2", at(3))
		l.Ask(nil, at(3))
		t.Log(name)
		complete(t, l, 11, Receipt{Complete: true})
	}
	// One that opens lacks what it was told there, until it acknowledges.
	l := heard(t)
	l.Commit(11, nil, at(1))
	l.Open(1, "h2", 6, 11)
	l.Part("m2", at(3))
	l.Ask(nil, at(3))
	complete(t, l, 11, Receipt{Pending: []dove.HostName{"h2"}})
	if err := l.Ack(1, 11, nil, at(4)); err != nil {
		t.Fatal(err)
	}
	complete(t, l, 11, Receipt{Complete: true})
}

// TestWhatIsNotKnownHidesNoGap has a host that never acknowledged since this member started end a
// session here: what it lacks of that is told to who was not reached meanwhile.
func TestWhatIsNotKnownHidesNoGap(t *testing.T) {
	l := NewLedger(10, []dove.HostName{"h1"})
	if got := l.Gaps(); len(got) > 0 {
		t.Errorf("gaps %v of what is not known", got)
	}
	l.Open(1, "h1", 3, 10)
	l.Commit(11, []SessionID{1}, at(1))
	l.Close(1, at(2))
	if diff := cmp.Diff([]Presence{{Host: "h1", Session: 3, Phase: PhaseEnded, First: 1, Last: 11}}, l.Gaps()); diff != "" {
		t.Error(diff)
	}
}

// TestNewest is the latest session of which anything is known.
func TestNewest(t *testing.T) {
	l := heard(t)
	l.Part("m2", at(1))
	if got := l.Newest("h2"); got != 5 {
		t.Errorf("of a member that is not reached: %d", got)
	}
	l = heard(t)
	l.Hear("m2", &Present{Hosts: []Presence{{Host: "h2", Session: 9, Phase: PhaseEnded, Failed: []Failure{{10, "no room"}}}}}, at(1))
	if got := l.Newest("h2"); got != 9 {
		t.Errorf("of what failed: %d", got)
	}
}

// TestSweep forgets what was said of a host that was deleted, however late, and not of one that is
// not known here yet.
func TestSweep(t *testing.T) {
	l := heard(t)
	l.Commit(11, nil, at(1))
	l.Hear("m2", &Present{Hosts: []Presence{
		{Host: "gone", Session: 3, Phase: PhaseEnded, First: 11, Last: 11, Failed: []Failure{{11, "no room"}}},
		{Host: "new", Session: 3, Phase: PhaseEnded, First: 12, Last: 12, Failed: []Failure{{12, "no room"}}},
	}}, at(2))
	l.Advance("m2", &Progress{Applied: 12, Settled: 10}, at(2))
	l.Part("m2", at(3))
	l.Ask(nil, at(3))
	exists := func(h dove.HostName) bool { return h != "gone" && h != "new" && h != "h2" }
	l.Sweep(exists, at(4))
	complete(t, l, 11, Receipt{Unknown: []UnknownHost{{"h2", "m2"}}}) // m2 knew of a later revision than this one
	if l.Lost("gone") || !l.Lost("new") || l.Newest("gone") != 0 || l.Newest("new") != 3 {
		t.Errorf("of gone is known %d, of new %d", l.Newest("gone"), l.Newest("new"))
	}
	l.Commit(12, nil, at(5))
	l.Ask(nil, at(6))
	l.Sweep(exists, at(6))
	complete(t, l, 12, Receipt{Complete: true})
	if got := l.Gaps(); len(got) > 0 || l.Newest("new") != 0 {
		t.Errorf("gaps %v of hosts that are none", got)
	}
}
