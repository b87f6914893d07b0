package edit

import (
	"errors"
	"slices"
	"strings"

	"dove.network/dove"
	"dove.network/world"
)

// tenants' documents, by the folder of their keys. What operators need to mend a
// full store is not among them.
var tenants = []string{"tenants/", "blueprints/", "networks/", "routers/", "endpoints/"}

// Grows reports whether a decision, a transaction or an error, adds to what tenants have: it makes one of
// their documents, or writes a blueprint. Bindings and deletions do not. Of one that
// needs class ids first the end counts: whatever comes before is for that.
func Grows(txn dove.Txn, err error) bool {
	if l, lacks := errors.AsType[*lacking](err); lacks {
		txn = l.last
	} else if err != nil {
		return false
	}
	return slices.ContainsFunc(txn.Puts, func(p dove.Put) bool {
		kind := strings.TrimPrefix(p.Key, world.Prefix)
		switch {
		case strings.HasPrefix(kind, "blueprints/"):
			return true
		case !slices.ContainsFunc(tenants, func(of string) bool { return strings.HasPrefix(kind, of) }):
			return false
		}
		return slices.Contains(txn.Reads, dove.Read{Key: p.Key})
	})
}
