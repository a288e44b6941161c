package sync

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	stdsync "sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// line is a made history: n signed commits on top of an introduction, and what a
// signer, a stranger to this package, needed to make it.
type line struct {
	key     ed25519.PrivateKey
	signer  ssh.Signer
	intro   Introduction
	signers string
	records []string // of each commit with its trees, the introduction first
	commits []string // raw
	ids     []ID
	policy  string // records of .pullnode
	last    string // record of the file in the newest
}

// memory is a spool in memory.
type memory struct{ bytes.Buffer }

func (m *memory) ReadAt(b []byte, off int64) (int, error) { return copy(b, m.Bytes()[off:]), nil }

func rec(tb testing.TB, kind, body string) (ID, string) {
	id, err := hashObject(kind, []byte(body))
	if err != nil {
		tb.Fatal(err)
	}
	return id, fmt.Sprintf("%s %s %d\n%s\n", id, kind, len(body), body)
}

func treeOf(entries ...string) string { // mode, name, id
	var b strings.Builder
	for i := 0; i < len(entries); i += 3 {
		raw, _ := hex.DecodeString(entries[i+2])
		fmt.Fprintf(&b, "%s %s\x00%s", entries[i], entries[i+1], raw)
	}
	return b.String()
}

// sign gives a commit's bytes with their SSH signature.
func (l *line) sign(tb testing.TB, payload string) string {
	h := sha512.Sum512([]byte(payload))
	sig, err := l.signer.Sign(nil, append([]byte(sshMagic), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Digest                    []byte
	}{sshNS, "", "sha512", h[:]})...))
	if err != nil {
		tb.Fatal(err)
	}
	blob := append([]byte(sshMagic), ssh.Marshal(sshBlob{1, l.signer.PublicKey().Marshal(), sshNS, "", "sha512", ssh.Marshal(sig)})...)
	enc := base64.StdEncoding.EncodeToString(blob)
	armored := strings.TrimSuffix(sshBegin, "\n")
	for len(enc) > 70 {
		armored, enc = armored+"\n "+enc[:70], enc[70:]
	}
	armored += "\n " + enc + "\n " + strings.TrimSuffix(sshEnd, "\n")
	head, body, _ := strings.Cut(payload, "\n\n")
	return head + "\ngpgsig " + armored + "\n\n" + body
}

// makeLine makes a history whose every commit changes a file, signed by one key;
// with another's name it is another key.
func makeLine(tb testing.TB, n int, whose ...string) *line {
	// The same in every process: fuzzing has several.
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(len(whose)) + 1}, ed25519.SeedSize))
	pub := key.Public().(ed25519.PublicKey)
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	sshPub, _ := ssh.NewPublicKey(pub)
	l := &line{key: key, signer: signer, signers: "alice " + string(ssh.MarshalAuthorizedKey(sshPub))}
	list, listRec := rec(tb, "blob", l.signers)
	dir, dirRec := rec(tb, "tree", treeOf(modeFile, "allowed_signers", string(list)))
	parent := ""
	for i := range n + 1 {
		file, fileRec := rec(tb, "blob", fmt.Sprint(i))
		root, rootRec := rec(tb, "tree", treeOf(modeTree, ".pullnode", string(dir), modeFile, "a", string(file)))
		payload := fmt.Sprintf("tree %s\n%sauthor A <a@b> %d +0000\ncommitter A <a@b> %d +0000\n\nchange %d\n", root, parent, 1_700_000_000+i, 1_700_000_000+i, i)
		raw := l.sign(tb, payload)
		id, commitRec := rec(tb, "commit", raw)
		parent = "parent " + string(id) + "\n"
		r := commitRec + rootRec
		if i == 0 {
			l.policy = dirRec + listRec
			r += l.policy
			l.intro = Introduction{Commit: id, Fingerprint: ssh.FingerprintSHA256(sshPub)}
		}
		l.records, l.commits, l.ids, l.last = append(l.records, r), append(l.commits, raw), append(l.ids, id), fileRec
	}
	return l
}

func (l *line) stream(from int) []byte {
	var b bytes.Buffer
	b.WriteString(StreamHeader{Request: 1, Tip: string(l.ids[len(l.ids)-1])}.String())
	for i, r := range l.records[from:] {
		b.WriteString(r)
		if i == 0 && from > 0 {
			b.WriteString(l.policy) // T brings it along
		}
	}
	b.WriteString(l.last)
	return b.Bytes()
}

func (l *line) judge(tb testing.TB, raw []byte, want Want, p Policy) Verified {
	s, err := StreamReader{Want: want, Spool: &memory{}}.Read(bytes.NewReader(raw))
	if err != nil {
		tb.Fatal(err)
	}
	v, verdict := p.Judge(s)
	if verdict.Refused() {
		tb.Fatalf("%s: %s", verdict.Name, verdict.Reason)
	}
	return v
}

// floor is what no verifier can go below: hash each payload and verify one
// signature, with everything parsed before.
func (l *line) floor(tb testing.TB, workers int) time.Duration {
	type job struct {
		payload []byte
		sig     *ssh.Signature
	}
	var jobs []job
	for _, raw := range l.commits {
		c, err := ParseCommit([]byte(raw))
		if err != nil {
			tb.Fatal(err)
		}
		blob, err := dearmor(c.signature)
		if err != nil {
			tb.Fatal(err)
		}
		var b sshBlob
		var sig ssh.Signature
		if ssh.Unmarshal(blob[len(sshMagic):], &b) != nil || ssh.Unmarshal(b.Signature, &sig) != nil {
			tb.Fatal("signature")
		}
		jobs = append(jobs, job{c.payload, &sig})
	}
	pub := l.key.Public().(ed25519.PublicKey)
	began := time.Now()
	var all stdsync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := w; i < len(jobs); i += workers {
				h := sha512.Sum512(jobs[i].payload)
				if !ed25519.Verify(pub, append([]byte(sshMagic), ssh.Marshal(struct {
					Namespace, Reserved, Hash string
					Digest                    []byte
				}{sshNS, "", "sha512", h[:]})...), jobs[i].sig.Blob) {
					tb.Error("signature")
				}
			}
		})
	}
	all.Wait()
	return time.Since(began)
}

// BenchmarkTrust judges 10,000 signed commits as a node does that meets the
// repository for the first time: hashed with collision detection, parsed, verified
// and judged. The last line is how many times as long that takes as the floor of
// the signatures alone, on one processor, both the best of three in turn.
func BenchmarkTrust(b *testing.B) {
	const n = 10_000
	l := makeLine(b, n)
	raw := l.stream(0)
	want := Want{Request: 1, Trusted: string(l.intro.Commit), Ancestry: true}
	ratio := 0.0
	for _, procs := range []int{2, 1} {
		old := runtime.GOMAXPROCS(procs)
		var rule, floor []time.Duration
		for range 3 {
			runtime.GC()
			began := time.Now()
			l.judge(b, raw, want, Policy{Introduction: l.intro})
			rule = append(rule, time.Since(began))
			floor = append(floor, l.floor(b, procs))
		}
		runtime.GOMAXPROCS(old)
		r, f := slices.Min(rule), slices.Min(floor)
		ratio = float64(r) / float64(f)
		fmt.Printf("%d goroutine(s): rule %.0f commits/s, floor %.0f commits/s, ratio %.2f\n", procs, n/r.Seconds(), n/f.Seconds(), ratio)
	}
	l.tenMore(b)
	l.git(b, 100)
	fmt.Printf("floor-ratio: %.2f\n", ratio)
}

// tenMore prints the time for ten new commits on top of ten thousand.
func (l *line) tenMore(b *testing.B) {
	at := len(l.ids) - 11
	known := map[ID]bool{}
	for _, id := range l.ids[:at] {
		known[id] = true
	}
	c, _ := ParseCommit([]byte(l.commits[at]))
	t := &Trusted{Commit: c.ID, Parents: c.Parents, Digest: c.Digest, Policy: map[string][]byte{SignersPath: []byte(l.signers)}}
	raw := l.stream(at)
	var took []time.Duration
	for range 5 {
		began := time.Now()
		l.judge(b, raw, Want{Request: 1, Trusted: string(c.ID)}, Policy{Introduction: l.intro, Trusted: t, Ancestors: func(id ID) bool { return known[id] }})
		took = append(took, time.Since(began))
	}
	fmt.Printf("10 new commits on %d: %.2f ms\n", at, float64(slices.Min(took).Microseconds())/1000)
}

// git prints how many signatures a second git itself checks, on a sample.
func (l *line) git(b *testing.B, n int) {
	dir := b.TempDir()
	run := func(stdin string, args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "gpg.ssh.allowedSignersFile=" + filepath.Join(dir, "signers")}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.Output()
		if err != nil {
			b.Fatalf("git %v: %v", args, err)
		}
		return string(out)
	}
	run("", "init", "-q")
	os.WriteFile(filepath.Join(dir, "signers"), []byte(l.signers), 0o600)
	for _, raw := range l.commits[:n] {
		run(raw, "hash-object", "-t", "commit", "-w", "--stdin")
	}
	began := time.Now()
	out := run("", "log", "--format=%G?", string(l.ids[n-1]))
	took := time.Since(began)
	if strings.Count(out, "G") != n {
		b.Fatalf("git says %q", out)
	}
	fmt.Printf("git log --format=%%G?: %.0f commits/s\n", float64(n)/took.Seconds())
}
