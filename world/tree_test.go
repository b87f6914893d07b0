package world

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTreeAgainstSlice walks random changes over many versions of a tree; each
// version must stay what it was.
func TestTreeAgainstSlice(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	type version struct {
		tree  tree[int]
		items []int
	}
	for _, span := range []int{10, 300, 20000} {
		current := version{tree: newTree(cmp.Compare[int])}
		for k := range random.IntN(span) {
			current.items = append(current.items, 2*k)
		}
		current.tree.build(current.items)
		versions := []version{current}
		for generation := uint64(1); generation < 60; generation++ {
			if random.IntN(8) == 0 { // branch from an old one
				current = versions[random.IntN(len(versions))]
			}
			next := version{current.tree.edit(generation), slices.Clone(current.items)}
			growing := random.IntN(3) > 0
			for range random.IntN(span / 4) {
				k := random.IntN(span)
				i, found := slices.BinarySearch(next.items, k)
				if (random.IntN(4) > 0) == growing {
					if _, replaced := next.tree.put(k); replaced != found {
						t.Fatalf("put %d: replaced %v, want %v", k, replaced, found)
					}
					if !found {
						next.items = slices.Insert(next.items, i, k)
					}
				} else {
					if _, removed := next.tree.remove(k); removed != found {
						t.Fatalf("remove %d: removed %v, want %v", k, removed, found)
					}
					if found {
						next.items = slices.Delete(next.items, i, i+1)
					}
				}
			}
			current = next
			versions = append(versions, current)
		}
		for i, v := range versions {
			if got := slices.Collect(v.tree.all()); !slices.Equal(got, v.items) {
				t.Fatalf("span %d version %d: %d items, want %d", span, i, len(got), len(v.items))
			}
			v.tree.root.check(t)
			k := random.IntN(span)
			rank, _ := slices.BinarySearch(v.items, k)
			if got := v.tree.before(func(o int) int { return cmp.Compare(o, k) }); got != rank {
				t.Fatalf("span %d version %d: %d before %d, want %d", span, i, got, k, rank)
			}
			from, to := random.IntN(span), random.IntN(span)
			at := func(k int) int {
				switch {
				case k < from:
					return -1
				case k >= to:
					return 1
				}
				return 0
			}
			var want []int
			for _, k := range v.items {
				if at(k) == 0 && from <= to {
					want = append(want, k)
				}
			}
			if from <= to {
				if got := slices.Collect(v.tree.within(at)); !slices.Equal(got, want) {
					t.Fatalf("within [%d, %d): %v, want %v", from, to, got, want)
				}
				first, ok := v.tree.find(at)
				if ok != (len(want) > 0) || ok && first != want[0] {
					t.Fatalf("find in [%d, %d): %d %v", from, to, first, ok)
				}
			}
		}
	}
}

// TestTreeBuild builds trees of all sizes near those where one grows.
func TestTreeBuild(t *testing.T) {
	const full = nodeItemsMax + 1
	for _, size := range []int{0, 1, nodeItemsMax, full, 2*full - 1, 2 * full, full*full - 1, full * full, full*full + 1, 5 * full * full, full*full*full - 1, full * full * full} {
		var items []int
		for k := range size {
			items = append(items, k)
		}
		built := newTree(cmp.Compare[int])
		built.build(items)
		if got := slices.Collect(built.all()); !slices.Equal(got, items) {
			t.Fatalf("%d items become %d", size, len(got))
		}
		built.root.check(t)
		built.root.filled(t)
	}
}

// filled fails if a node below has fewer items than removal leaves one.
func (n *node[T]) filled(t *testing.T) {
	if n == nil {
		return
	}
	for _, c := range n.children {
		if len(c.items) < nodeItemsMin {
			t.Fatalf("a node has %d items", len(c.items))
		}
		c.filled(t)
	}
}

// check fails if the node breaks the shape of a B-tree, and returns its height.
func (n *node[T]) check(t *testing.T) int {
	if n == nil {
		return 0
	}
	if len(n.items) > nodeItemsMax || len(n.items) == 0 {
		t.Fatalf("node has %d items", len(n.items))
	}
	count := n.count
	if n.recount(); n.count != count {
		t.Fatalf("node counts %d items, has %d", count, n.count)
	}
	if n.children == nil {
		return 1
	}
	if len(n.children) != len(n.items)+1 {
		t.Fatalf("node has %d items and %d children", len(n.items), len(n.children))
	}
	height := n.children[0].check(t)
	for _, c := range n.children[1:] {
		if c.check(t) != height {
			t.Fatal("leaves at different depths")
		}
	}
	return height + 1
}
