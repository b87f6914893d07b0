package verdict

import (
	"iter"
	"math/bits"
)

// Prefixes yields the fewest 16-bit prefixes, in ascending order, that cover
// first to last and nothing else: a value and the number of its leading bits
// that count (0 to 16). An interval needs at most 30 of them. It yields nothing
// if first is after last.
func Prefixes(first, last uint16) iter.Seq2[uint16, int] {
	return func(yield func(uint16, int) bool) {
		for at, end := uint32(first), uint32(last); at <= end; {
			// The widest block that starts here and ends in time.
			free := min(bits.TrailingZeros32(at|1<<16), bits.Len32(end-at+1)-1)
			if !yield(uint16(at), 16-free) {
				return
			}
			at += 1 << free
		}
	}
}
