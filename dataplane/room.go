package dataplane

import "dove.network/verdict"

// What a switch has room for.
const (
	PortsMax   = 4096
	PermitsMax = 1 << 16 // prefixes that its ports are allowed beside their own addresses, each part that policies mention (Port.Allowed)
	EntriesMax = 1 << 18 // of the tables of pairs, each table once
)

// SharePart bounds what one domain takes of what all share: at most this
// many times as much as would then still be free. One alone gets four fifths, two
// that want all get four ninths each, and whoever comes later always finds room
// (Choudhury and Hahne, Dynamic Queue Length Thresholds).
const SharePart = 4

// EntriesAlone is how many entries of tables a domain may have that is alone on a host.
const EntriesAlone = EntriesMax * SharePart / (SharePart + 1)

// Entries says how many entries a table takes of EntriesMax.
func Entries(t *verdict.Table) int {
	n := 1
	for _, section := range t.Sections {
		n++
		widest := Widest(section)
		for _, iv := range section.Intervals {
			if iv.Verdict == widest.Verdict {
				continue
			}
			for range verdict.Prefixes(iv.First, iv.Last) {
				n++
			}
		}
	}
	return max(n, len(t.Names))
}

// Widest returns the interval of a section that has most ports: it stands for the protocol, and
// only what differs from it takes entries of its own.
func Widest(s verdict.Section) verdict.Interval {
	widest := s.Intervals[0]
	for _, iv := range s.Intervals {
		if iv.Last-iv.First > widest.Last-widest.First {
			widest = iv
		}
	}
	return widest
}

// EntriesOf bounds what so many ranges of ports that rules name can take in a table: each has a
// protocol, and cuts the ports at both ends, where either neighbour needs sixteen prefixes at most.
func EntriesOf(ranges int) int { return ranges * (2 + 2*2*16) }
