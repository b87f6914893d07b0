// Package edit knows what a write means: it turns a request, judged by one
// World, into the transaction that carries it out, or says everything that is
// wrong with it.
//
// Each function takes the World, the request and whatever must be chosen by
// chance or clock (UIDs, times), and returns a dove.Txn, the document as it will
// be, and a *dove.Error. The transaction's Reads hold all that the decision
// relied on; if one of them does not hold any more when it is committed, the
// caller decides again on the newer World. A request that changes nothing gives
// an empty transaction.
//
// PutBlueprints takes several documents of one text as one write. A Batch makes one transaction of several writes, each decided on what those before it leave.
//
// A Request is a write that its client gave an id: Replay finds what came of it
// before, and Keep adds to its transaction that the result is kept for a day.
//
// Some decisions rely on what is not there: that nobody has an address, that no
// endpoint is in a group. Writes that could contradict each other so share a
// document that each of them writes and reads:
//
//   - world.Ledger, one for each tenant: every write of its blueprints, networks and routers;
//   - world.ClassNext, one for each domain: every choice of a class id, address,
//     MAC or group of an endpoint, of a router's addresses and MACs; read by whatever takes groups, networks or subnets away;
//   - world.VNINext: every choice of a VNI;
//   - world.VTEPAlloc, one for each VTEP: every write of its host, and every binding to that; taken away with the
//     host. So of a binding and the deletion of its host that are decided at once, one succeeds.
//
// All else relies only on documents that it names.
//
// The package knows no store, clock, chance or session, and does not judge who may write,
// except which tier is a tenant's own (OwnTier).
package edit
