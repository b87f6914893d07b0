package world

import (
	"iter"
	"slices"
)

// tree is an ordered set that keeps its earlier versions: put and remove copy
// the few nodes on their way and leave all others shared, so a new World costs
// what changed and not what there is. It is a B-tree; order is the total order
// of its items.
//
// A tree value with generation g changes nodes of generation g in place. Whoever
// starts a change takes a generation that no node has yet (edit), so nodes that an
// earlier tree can reach are never touched.
type tree[T any] struct {
	order      func(a, b T) int
	generation uint64
	root       *node[T]
}

// node holds items in ascending order; an inner node has one child more than items.
type node[T any] struct {
	generation uint64
	count      int // items of the node and below it
	items      []T
	children   []*node[T]
}

// A node has at most nodeItemsMax items. One with nodeItemsMin or fewer gets more
// before an item is taken from it.
const (
	nodeItemsMax = 32
	nodeItemsMin = nodeItemsMax/2 - 1
)

func newTree[T any](order func(a, b T) int) tree[T] { return tree[T]{order: order} }

// edit returns the tree ready to be changed under a new generation.
func (t tree[T]) edit(generation uint64) tree[T] {
	t.generation = generation
	return t
}

// find returns the first item for which at is 0. at must be ascending in the
// tree's order: negative before the wanted items, positive after them.
func (t tree[T]) find(at func(T) int) (T, bool) {
	var found T
	ok := false
	for n := t.root; n != nil; {
		i := n.search(at)
		if i < len(n.items) && at(n.items[i]) == 0 {
			found, ok = n.items[i], true
		}
		if n.children == nil {
			break
		}
		n = n.children[i]
	}
	return found, ok
}

// before returns how many items there are for which at is negative; at is as in find.
func (t tree[T]) before(at func(T) int) int {
	count := 0
	for n := t.root; n != nil; {
		i := n.search(at)
		count += i
		if n.children == nil {
			break
		}
		for _, c := range n.children[:i] {
			count += c.count
		}
		n = n.children[i]
	}
	return count
}

// within yields in order all items for which at is 0; at is as in find.
func (t tree[T]) within(at func(T) int) iter.Seq[T] {
	return func(yield func(T) bool) { t.root.walk(at, yield) }
}

// len returns how many items there are.
func (t tree[T]) len() int {
	if t.root == nil {
		return 0
	}
	return t.root.count
}

// all yields every item in order.
func (t tree[T]) all() iter.Seq[T] { return t.within(func(T) int { return 0 }) }

// walk returns false once yield did.
func (n *node[T]) walk(at func(T) int, yield func(T) bool) bool {
	if n == nil {
		return true
	}
	for i := n.search(at); ; i++ {
		if n.children != nil && !n.children[i].walk(at, yield) {
			return false
		}
		if i == len(n.items) || at(n.items[i]) != 0 {
			return true
		}
		if !yield(n.items[i]) {
			return false
		}
	}
}

// search returns the index of the first item for which at is not negative.
func (n *node[T]) search(at func(T) int) int {
	low, high := 0, len(n.items)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if at(n.items[middle]) < 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// put adds the item, or replaces the one that is equal in order, which it returns.
func (t *tree[T]) put(item T) (old T, replaced bool) {
	if t.root == nil {
		t.root = &node[T]{generation: t.generation, count: 1, items: []T{item}}
		return old, false
	}
	t.root = t.root.own(t.generation)
	if len(t.root.items) == nodeItemsMax {
		root := &node[T]{generation: t.generation, count: t.root.count, children: []*node[T]{t.root}}
		root.split(0, item, t.order, t.generation)
		t.root = root
	}
	return t.root.put(item, t.order, t.generation)
}

// put works on an owned node with room.
func (n *node[T]) put(item T, order func(a, b T) int, generation uint64) (old T, replaced bool) {
	at := func(o T) int { return order(o, item) }
	i := n.search(at)
	if i < len(n.items) && at(n.items[i]) == 0 {
		old, n.items[i] = n.items[i], item
		return old, true
	}
	if n.children == nil {
		n.items = slices.Insert(n.items, i, item)
		n.count++
		return old, false
	}
	if len(n.children[i].items) == nodeItemsMax {
		n.split(i, item, order, generation)
		switch c := at(n.items[i]); {
		case c == 0:
			old, n.items[i] = n.items[i], item
			return old, true
		case c < 0:
			i++
		}
	}
	n.children[i] = n.children[i].own(generation)
	old, replaced = n.children[i].put(item, order, generation)
	if !replaced {
		n.count++
	}
	return old, replaced
}

// split makes two of the full child i and moves the item between them up. That
// is the middle one, but if item comes after all of them the second to last: documents are
// loaded in order of keys, and nodes left behind half full would stay so.
func (n *node[T]) split(i int, item T, order func(a, b T) int, generation uint64) {
	left := n.children[i].own(generation)
	middle := len(left.items) / 2
	if order(left.items[len(left.items)-1], item) < 0 {
		middle = len(left.items) - 2
	}
	right := &node[T]{generation: generation, items: slices.Clone(left.items[middle+1:])}
	up := left.items[middle]
	clear(left.items[middle:])
	left.items = left.items[:middle]
	if left.children != nil {
		right.children = slices.Clone(left.children[middle+1:])
		clear(left.children[middle+1:])
		left.children = left.children[:middle+1]
	}
	n.items = slices.Insert(n.items, i, up)
	n.children[i] = left
	n.children = slices.Insert(n.children, i+1, right)
	left.recount()
	right.recount()
}

// recount counts anew after items moved between nodes.
func (n *node[T]) recount() {
	n.count = len(n.items)
	for _, c := range n.children {
		n.count += c.count
	}
}

// build makes the tree of items in ascending order, as full as can be. The tree is empty.
func (t *tree[T]) build(items []T) {
	if len(items) == 0 {
		return
	}
	height, room := 0, nodeItemsMax // of items in a tree so high
	for room < len(items) {
		height, room = height+1, (room+1)*(nodeItemsMax+1)-1
	}
	t.root = grown(items, height, t.generation)
}

// grown makes a node with so many levels below it.
func grown[T any](items []T, height int, generation uint64) *node[T] {
	n := &node[T]{generation: generation, count: len(items)}
	if height == 0 {
		n.items = slices.Clone(items)
		return n
	}
	room := 1 // of items in a child, and the one behind it
	for range height {
		room *= nodeItemsMax + 1
	}
	children := (len(items) + room) / room
	for i := range children {
		rest := children - i // as many items for each as for the others
		size := (len(items) - rest + 1) / rest
		n.children = append(n.children, grown(items[:size], height-1, generation))
		if items = items[size:]; rest > 1 {
			n.items = append(n.items, items[0])
			items = items[1:]
		}
	}
	n.items, n.children = slices.Clip(n.items), slices.Clip(n.children)
	return n
}

// remove takes out the item that is equal in order, if there is one, and returns it.
func (t *tree[T]) remove(item T) (old T, removed bool) {
	at := func(o T) int { return t.order(o, item) }
	if old, removed = t.find(at); !removed {
		return old, false
	}
	t.root = t.root.own(t.generation)
	t.root.take(at, t.generation)
	if len(t.root.items) == 0 {
		if t.root.children == nil {
			t.root = nil
		} else {
			t.root = t.root.children[0]
		}
	}
	return old, true
}

// take removes and returns the item for which at is 0, which is below this
// owned node, or the greatest item if at is negative for all. The node has an item to
// spare unless it is the root.
func (n *node[T]) take(at func(T) int, generation uint64) T {
	i := n.search(at)
	if n.children == nil {
		i = min(i, len(n.items)-1)
		item := n.items[i]
		n.items = cut(n.items, i)
		n.count--
		return item
	}
	if len(n.children[i].items) <= nodeItemsMin {
		n.fill(i, generation)
		return n.take(at, generation) // the item may be elsewhere now
	}
	n.count--
	child := n.children[i].own(generation)
	n.children[i] = child
	if i == len(n.items) || at(n.items[i]) != 0 {
		return child.take(at, generation)
	}
	item := n.items[i]
	n.items[i] = child.take(func(T) int { return -1 }, generation)
	return item
}

// fill gives child i one item more, from a neighbour through this node, or
// joins it with one.
func (n *node[T]) fill(i int, generation uint64) {
	child := n.children[i].own(generation)
	n.children[i] = child
	switch {
	case i > 0 && len(n.children[i-1].items) > nodeItemsMin:
		left := n.children[i-1].own(generation)
		n.children[i-1] = left
		last := len(left.items) - 1
		child.items = slices.Insert(child.items, 0, n.items[i-1])
		n.items[i-1] = left.items[last]
		left.items = cut(left.items, last)
		if left.children != nil {
			child.children = slices.Insert(child.children, 0, left.children[last+1])
			left.children = cut(left.children, last+1)
		}
		left.recount()
	case i < len(n.items) && len(n.children[i+1].items) > nodeItemsMin:
		right := n.children[i+1].own(generation)
		n.children[i+1] = right
		child.items = append(child.items, n.items[i])
		n.items[i] = right.items[0]
		right.items = cut(right.items, 0)
		if right.children != nil {
			child.children = append(child.children, right.children[0])
			right.children = cut(right.children, 0)
		}
		right.recount()
	default:
		if i == len(n.items) {
			i--
			child = n.children[i].own(generation)
			n.children[i] = child
		}
		right := n.children[i+1]
		child.items = append(append(child.items, n.items[i]), right.items...)
		child.children = append(child.children, right.children...)
		n.items = cut(n.items, i)
		n.children = cut(n.children, i+1)
	}
	child.recount()
}

// own returns the node itself if it is of the generation, else a copy that is.
func (n *node[T]) own(generation uint64) *node[T] {
	if n.generation == generation {
		return n
	}
	c := &node[T]{generation: generation, count: n.count, items: append(make([]T, 0, len(n.items)+1), n.items...)}
	if n.children != nil {
		c.children = append(make([]*node[T], 0, len(n.children)+1), n.children...)
	}
	return c
}

func cut[E any](s []E, i int) []E { return slices.Delete(s, i, i+1) }
