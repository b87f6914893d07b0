package edit_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"dove.network/dove"
	"dove.network/edit"
	"dove.network/world"
)

func memberDoc(name string, uid dove.UID) world.Member {
	return world.Member{Name: name, UID: uid, API: name + ".example:7443", Control: name + ".example:7444", Peer: name + ".example:7445", Etcd: name + ".example:7446", Serial: "ab", Joined: now}
}

// TestMembers makes members, drains and removes them, and refuses what does not fit.
func TestMembers(t *testing.T) {
	b := stocked(t)
	one := memberDoc("dpc-1", 1)
	refused(t, second(edit.PutMember(b.w, one, false)), dove.Forbidden, "was removed")
	b.must(first(edit.PutMember(b.w, one, true)))
	if txn, _, err := edit.PutMember(b.w, one, false); err != nil || !txn.Empty() {
		t.Errorf("said once more: %+v, %v", txn, err)
	}
	refused(t, second(edit.DrainMember(b.w, "dpc-1", true, nil)), dove.Conflict, "no other member")
	refused(t, fault(edit.RemoveMember(b.w, "dpc-1", nil)), dove.Conflict, "last one")
	refused(t, fault(edit.RemoveMember(b.w, "dpc-7", nil)), dove.NotFound, `no member "dpc-7"`)

	digest := sha256.Sum256([]byte("secret"))
	token := world.MemberToken{ID: "t1", Digest: digest[:], Member: "dpc-2", Expires: now.Add(time.Hour)}
	taken := token
	taken.Member = "dpc-1"
	refused(t, fault(edit.CreateMemberToken(b.w, taken)), dove.Exists, "dovectl member remove dpc-1")
	b.must(edit.CreateMemberToken(b.w, token))
	good := edit.MemberJoin{Token: "t1", Digest: digest[:], Member: memberDoc("dpc-2", 2), Now: now}
	for name, test := range map[string]struct {
		change func(*edit.MemberJoin)
		kind   dove.Kind
		want   string
	}{
		"secret":  {func(r *edit.MemberJoin) { r.Digest = make([]byte, 32) }, dove.Unauthorized, "not valid or was used"},
		"empty":   {func(r *edit.MemberJoin) { r.Token, r.Digest = "t2", nil }, dove.Unauthorized, "not valid or was used"},
		"late":    {func(r *edit.MemberJoin) { r.Now = now.Add(time.Hour) }, dove.Unauthorized, "expired"},
		"name":    {func(r *edit.MemberJoin) { r.Member.Name = "dpc-3" }, dove.Forbidden, `for member "dpc-2", not "dpc-3"`},
		"address": {func(r *edit.MemberJoin) { r.Member.Etcd = "dpc-1.example:7446" }, dove.Conflict, `address of member "dpc-1"`},
		"form":    {func(r *edit.MemberJoin) { r.Member.API = "dpc-2.example" }, dove.Invalid, "host:port"},
		"port":    {func(r *edit.MemberJoin) { r.Member.Control = "dpc-2.example:0" }, dove.Invalid, "host:port"},
		"nothing": {func(r *edit.MemberJoin) { r.Member.Peer = ":7445" }, dove.Invalid, "host:port"},
		"serial":  {func(r *edit.MemberJoin) { r.Member.Serial = "" }, dove.Invalid, "serial"},
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			test.change(&r)
			refused(t, second(edit.JoinMember(b.w, r)), test.kind, test.want)
		})
	}
	b.must(first(edit.JoinMember(b.w, good)))
	refused(t, second(edit.JoinMember(b.w, good)), dove.Unauthorized, "was used")

	// Another that was given the name of one, and one that was removed.
	refused(t, second(edit.PutMember(b.w, memberDoc("dpc-2", 3), true)), dove.Conflict, "another one")
	b.must(first(edit.DrainMember(b.w, "dpc-2", true, nil)))
	moved := memberDoc("dpc-2", 2)
	moved.API, moved.Joined = "192.0.2.9:7443", time.Time{}
	b.must(first(edit.PutMember(b.w, moved, false)))
	if m, _ := b.w.Member("dpc-2"); !m.Draining || m.API != moved.API || !m.Joined.Equal(now) {
		t.Errorf("a new address made of it %+v", m)
	}
	refused(t, second(edit.DrainMember(b.w, "dpc-1", true, nil)), dove.Conflict, "no other member")
	b.must(first(edit.DrainMember(b.w, "dpc-2", false, nil)))
	b.must(first(edit.DrainMember(b.w, "dpc-1", true, nil)))
	b.must(edit.RemoveMember(b.w, "dpc-2", nil))
	refused(t, second(edit.PutMember(b.w, moved, false)), dove.Forbidden, "join again")
}

// TestMembersCollide commits decisions that count on one another.
func TestMembersCollide(t *testing.T) {
	b := stocked(t)
	b.must(first(edit.PutMember(b.w, memberDoc("dpc-1", 1), true)))
	b.must(first(edit.PutMember(b.w, memberDoc("dpc-2", 2), true)))
	one, err := edit.RemoveMember(b.w, "dpc-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	b.must(edit.RemoveMember(b.w, "dpc-2", nil))
	for _, r := range one.Reads {
		if b.w.DocRevision(r.Key) != r.Revision {
			return
		}
	}
	t.Error("two members can remove each other")
}

// TestMembersMax refuses one too many.
func TestMembersMax(t *testing.T) {
	b := stocked(t)
	for i := range edit.MembersMax {
		b.must(first(edit.PutMember(b.w, memberDoc("m"+string(rune('a'+i)), dove.UID(i+1)), true)))
	}
	refused(t, second(edit.PutMember(b.w, memberDoc("mz", 99), true)), dove.TooLarge, "7 members already")
}

func fault(_ dove.Txn, err error) error { return err }
