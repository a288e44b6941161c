package fetch

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/adler32"
	"os/exec"
	"strings"

	"pullnode/internal/gitrig"
)

// oid is the id of an object.
func oid(kind string, body []byte) [20]byte {
	return sha1.Sum(append(fmt.Appendf(nil, "%s %d\x00", kind, len(body)), body...))
}

// made is a pack and the commit that it is for.
type made struct {
	tip  string
	pack []byte
}

// object adds an object of a kind and gives its id.
func (p *packer) object(kind string, body []byte) [20]byte {
	p.entry(map[string]byte{"commit": packCommit, "tree": packTree, "blob": packBlob}[kind], int64(len(body)), nil, body)
	return oid(kind, body)
}

// commit adds an unsigned commit.
func (p *packer) commit(tree [20]byte, text string, parents ...[20]byte) [20]byte {
	b := fmt.Appendf(nil, "tree %x\n", tree)
	for _, id := range parents {
		b = fmt.Appendf(b, "parent %x\n", id)
	}
	return p.object("commit", fmt.Append(b, "author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n", text))
}

// tipped is the pack with one more commit, on a tree.
func (p *packer) tipped(tree [20]byte) made {
	id := p.commit(tree, "tip")
	return made{hex.EncodeToString(id[:]), p.pack()}
}

func line(mode, name string, id [20]byte) []byte {
	return append([]byte(mode+" "+name+"\x00"), id[:]...)
}

// delta is a delta by its two declared sizes and its instructions.
func delta(from, to int, ops ...byte) []byte {
	return append(binary.AppendUvarint(binary.AppendUvarint(nil, uint64(from)), uint64(to)), ops...)
}

// copyOp copies n bytes from an offset of the base.
func copyOp(at, n int) []byte {
	return []byte{0xff, byte(at), byte(at >> 8), byte(at >> 16), byte(at >> 24), byte(n), byte(n >> 8), byte(n >> 16)}
}

// wideTrees is a commit of directories in directories, each with as many files as
// its size allows: as deltas they are next to nothing.
func wideTrees(levels, size int) made {
	var p packer
	file := p.object("blob", nil)
	below := p.object("tree", line("100644", "f", file))
	var wide []byte
	for i := 0; len(wide) < size-64; i++ {
		wide = append(wide, line("100644", fmt.Sprintf("%06d", i), file)...)
	}
	n := len(wide) + len("40000 z\x00")
	wide = append(wide, line("40000", "z", below)...)
	base := p.Len() + 12
	id := p.object("tree", wide)
	for range levels {
		d := delta(len(wide), len(wide), copyOp(0, n)...)
		d = append(append(d, 20), id[:]...)
		p.delta(base, d)
		copy(wide[n:], id[:])
		id = oid("tree", wide)
	}
	return p.tipped(id)
}

// deepTrees is a commit of directories in directories.
func deepTrees(levels int) made {
	var p packer
	id := p.object("tree", line("100644", "f", p.object("blob", []byte("x"))))
	for range levels {
		id = p.object("tree", line("40000", "d", id))
	}
	return p.tipped(id)
}

// refChain is a chain of deltas that name their bases by id, which lint cannot
// follow.
func refChain(n, size int) made {
	var p packer
	body := bytes.Repeat([]byte("x"), size)
	base := p.object("blob", body)
	for i := range n {
		b := fmt.Appendf(nil, "%08d", i)
		d := append(append(delta(size, size, 8), b...), copyOp(8, size-8)...)
		p.entry(packRef, int64(len(d)), base[:], d)
		copy(body, b)
		base = oid("blob", body)
	}
	return p.tipped(p.object("tree", line("100644", "f", base)))
}

// oneDelta is a delta on a blob of 100 bytes, whatever it says.
func oneDelta(kind byte, ref func(p *packer, base int) []byte, d []byte) []byte {
	var p packer
	base := p.entry(packBlob, 100, nil, bytes.Repeat([]byte("x"), 100))
	p.entry(kind, int64(len(d)), ref(&p, base), d)
	return p.pack()
}

// manyBlobs is a pack of very small objects, written by hand because a million of
// them should not take the test a minute.
func manyBlobs(n int) []byte {
	var p packer
	for i := range n {
		b := binary.BigEndian.AppendUint32(nil, uint32(i))
		p.Write([]byte{packBlob<<4 | 4, 0x78, 1, 1, 4, 0, 0xfb, 0xff})
		p.Write(b)
		p.Write(binary.BigEndian.AppendUint32(nil, adler32.Checksum(b)))
	}
	p.n = n
	return p.pack()
}

// manyCommits is a line of commits that nobody signed.
func manyCommits(n int) made {
	var p packer
	tree := p.object("tree", nil)
	id := p.commit(tree, "0")
	for i := range n {
		id = p.commit(tree, fmt.Sprint(i), id)
	}
	return made{hex.EncodeToString(id[:]), p.pack()}
}

// packOf is git's pack of all that a commit reaches.
func packOf(r *gitrig.Repo, tip string) made {
	cmd := exec.Command("git", "-C", r.Dir, "pack-objects", "--revs", "--stdout", "-q", "--delta-base-offset")
	cmd.Stdin = strings.NewReader(tip + "\n")
	out, err := cmd.Output()
	if err != nil {
		panic(err)
	}
	return made{tip, out}
}

// treeBomb puts a directory of ten to the power of n files into the repository's
// tree, and gives a commit of it that key has signed, or nobody.
func treeBomb(r *gitrig.Repo, key string, n int) made {
	kind, id := "100644 blob", r.Object("blob", "x")
	for range n {
		raw, _ := hex.DecodeString(id)
		var body []byte
		for i := range 10 {
			body = append(body, line(strings.TrimPrefix(strings.Fields(kind)[0], "0"), fmt.Sprint(i), [20]byte(raw))...)
		}
		kind, id = "040000 tree", r.Object("tree", string(body))
	}
	return packOf(r, r.Tree(key, "040000 tree "+id+"\tbomb"))
}
