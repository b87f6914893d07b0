package policy

import "dove.network/dove"

// ClassesMax is how many classes one domain may have at once.
const ClassesMax = 65000

// The ids that FreeClass gives out. ClassNone, ClassInfra and ClassReserved
// are not among them.
const (
	firstClass = dove.ClassInfra + 1
	lastClass  = firstClass + ClassesMax - 1
)

// FreeClass chooses an id that is not used (ids that rest count as used): the
// first one from next on, and from the smallest id on after the largest. Any
// next will do. It returns false if all ClassesMax are used.
func FreeClass(used func(dove.Class) bool, next dove.Class) (dove.Class, bool) {
	c := next
	for range ClassesMax {
		if c < firstClass || c > lastClass {
			c = firstClass
		}
		if !used(c) {
			return c, true
		}
		c++
	}
	return dove.ClassNone, false
}
