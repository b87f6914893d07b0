// Package oracle reads blueprints the slow and obvious way: one question, all
// policies, no index. It is what everything that compiles, carries or enforces
// policy is compared with, so it imports neither policy nor verdict and shares
// no code with them.
//
// Decide takes the blueprints of one domain, the moment up to which policies have
// ended, both ends and what the first packet asks for, and says whether it may
// pass and which rule said so. Its subpackage worlds makes random blueprints to
// ask about.
//
// The package knows nothing of hosts, classes, tables or flows.
package oracle
