package fetch

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"os"
	"testing"

	"pullnode/sync"
)

// packer writes packs that no honest server makes.
type packer struct {
	bytes.Buffer
	n int
	z *zlib.Writer
}

func (p *packer) entry(kind byte, declared int64, ref []byte, content []byte) int {
	at := p.Len() + 12
	b, size := kind<<4|byte(declared&15), declared>>4
	for ; size > 0; size >>= 7 {
		p.WriteByte(b | 0x80)
		b = byte(size & 0x7f)
	}
	p.WriteByte(b)
	p.Write(ref)
	if p.z == nil {
		p.z, _ = zlib.NewWriterLevel(&p.Buffer, zlib.BestSpeed)
	}
	p.z.Reset(&p.Buffer)
	p.z.Write(content)
	p.z.Close()
	p.n++
	return at
}

func (p *packer) pack() []byte {
	head := append([]byte("PACK\x00\x00\x00\x02"), binary.BigEndian.AppendUint32(nil, uint32(p.n))...)
	all := append(head, p.Bytes()...)
	sum := sha1.Sum(all)
	return append(all, sum[:]...)
}

// ofs adds a delta on the entry at base whose result is declared to be size.
func (p *packer) ofs(base int, from, size uint64) int {
	d := binary.AppendUvarint(binary.AppendUvarint(nil, from), size)
	for left := size; left > 0; {
		n := min(left, 0xffff)
		d = append(d, 0x80|0x10|0x20, byte(n), byte(n>>8))
		left -= n
	}
	return p.delta(base, d)
}

// delta adds a delta on the entry at base.
func (p *packer) delta(base int, d []byte) int {
	return p.entry(packOfs, int64(len(d)), back(p.Len()+12-base), d)
}

// back is a distance to a base as a pack has it.
func back(n int) []byte {
	b := []byte{byte(n & 0x7f)}
	for n >>= 7; n > 0; n >>= 7 {
		n--
		b = append([]byte{byte(n&0x7f) | 0x80}, b...)
	}
	return b
}

func lintBytes(t *testing.T, b []byte, lim Limits) error {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "pack")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	_, err = lint(f, lim.withDefaults())
	return err
}

type hostilePack struct {
	b     []byte
	class sync.Class
}

// hostilePacks are packs and what lint says of each.
func hostilePacks() map[string]hostilePack {
	all := smallPacks()
	for name, size := range map[string]int64{"blob of 65 MiB": 65 << 20, "tree of 5 MiB": 5 << 20} {
		var p packer
		p.entry(map[bool]byte{true: packTree, false: packBlob}[name[0] == 't'], size, nil, make([]byte, size))
		all[name] = hostilePack{p.pack(), sync.OverLimit}
	}
	return all
}

func smallPacks() map[string]hostilePack {
	base := bytes.Repeat([]byte("x"), 0xffff)
	one := func(kind byte, declared int64, content []byte) []byte {
		var p packer
		p.entry(kind, declared, nil, content)
		return p.pack()
	}
	good := one(packBlob, 1, []byte("x"))
	var bomb, sum, chain, unknown, wrong packer
	b := bomb.entry(packBlob, int64(len(base)), nil, base)
	bomb.ofs(b, uint64(len(base)), 256<<20)
	b = sum.entry(packBlob, int64(len(base)), nil, base)
	for range 20 {
		sum.ofs(b, uint64(len(base)), 60<<20)
	}
	b = chain.entry(packBlob, int64(len(base)), nil, base)
	for range 300 {
		b = chain.ofs(b, uint64(len(base)), uint64(len(base)))
	}
	unknown.entry(packOfs, 4, []byte{5}, []byte("abcd"))
	b = wrong.entry(packBlob, 3, nil, []byte("abc"))
	wrong.ofs(b, 1000, 10)
	return map[string]hostilePack{
		"blob that only says so": {one(packBlob, 1<<40, []byte("x")), sync.OverLimit},
		"commit of 65 KiB":       {one(packCommit, 65<<10, make([]byte, 65<<10)), sync.OverLimit},
		"tag of 65 KiB":          {one(packTag, 65<<10, make([]byte, 65<<10)), sync.OverLimit},
		"delta bomb":             {bomb.pack(), sync.OverLimit},
		"many delta bombs":       {sum.pack(), sync.OverLimit},
		"long delta chain":       {chain.pack(), sync.OverLimit},
		"longer than it says":    {one(packBlob, 5, []byte("0123456789")), sync.BadData},
		"shorter than it says":   {one(packBlob, 50, []byte("0123456789")), sync.BadData},
		"base not in the pack":   {unknown.pack(), sync.BadData},
		"delta on another size":  {wrong.pack(), sync.BadData},
		"unknown type":           {one(5, 1, []byte("x")), sync.BadData},
		"count lies":             {append([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x09"), one(packBlob, 1, []byte("x"))[12:]...), sync.BadData},
		"a million and one":      {append([]byte("PACK\x00\x00\x00\x02\x00\x0f\x42\x41"), one(packBlob, 1, []byte("x"))[12:]...), sync.OverLimit},
		"more after the end":     {append(one(packBlob, 1, []byte("x")), 0), sync.BadData},
		"wrong checksum":         {append(good[:len(good)-1], ^good[len(good)-1]), sync.BadData},
		"no pack":                {[]byte("<html>"), sync.BadData},
	}
}

func TestLint(t *testing.T) {
	for name, c := range hostilePacks() {
		if err := lintBytes(t, c.b, Limits{}); classFrom(err) != c.class {
			t.Errorf("%s: %v, want %s", name, err, c.class)
		}
	}
	var p packer
	b := p.entry(packBlob, 0xffff, nil, bytes.Repeat([]byte("x"), 0xffff))
	for range 200 {
		p.ofs(b, 0xffff, 1000)
	}
	if err := lintBytes(t, p.pack(), Limits{}); err != nil {
		t.Errorf("an honest pack: %v", err)
	}
}

// Every byte of a small pack is cut off or changed once: nothing panics, and
// what is cut is refused.
func TestLintDamage(t *testing.T) {
	var p packer
	b := p.entry(packBlob, 5, nil, []byte("hello"))
	p.ofs(b, 5, 4)
	good := p.pack()
	for i := range good {
		if err := lintBytes(t, good[:i], Limits{}); err == nil {
			t.Errorf("cut at %d of %d is taken", i, len(good))
		}
		bad := bytes.Clone(good)
		bad[i] ^= 0xff
		lintBytes(t, bad, Limits{})
	}
}
