package sync

import (
	"encoding/json"
	"fmt"
	"time"
)

// StreamFormat is the version of the object stream and of Want and Report. A
// process that meets another version drops the file and asks again.
const StreamFormat = 1

// Want is what the agent asks of the fetching process: written by root to
// /run/pullnode/want, mode 0644, so it holds no secret.
type Want struct {
	Format  int          `json:"format"`
	Request uint64       `json:"request"` // only rises; an answer to a lower one is dropped
	Remotes []WantRemote `json:"remotes"` // in order of preference
	Branch  string       `json:"branch"`  // short name, "main"
	// Known is the tip that the agent has already judged: while a remote's tip
	// is this, the answer is "unchanged". Empty on the first request.
	Known string `json:"known,omitempty"`
	// Trusted is the trusted commit T, TrustedParents its parents.
	Trusted        string   `json:"trusted"`
	TrustedParents []string `json:"trustedParents,omitempty"`
	// Ancestry asks for every ancestor of Trusted as a bare commit in front of
	// the stream: the node has no list of them.
	Ancestry bool `json:"ancestry,omitempty"`
}

// WantRemote is one place that serves the branch. Its credentials are not here:
// they are delivered to the fetching process alone, by name.
type WantRemote struct {
	Name string `json:"name"`
	URL  string `json:"url"`
}

// Class says what kind of result a Report is. Only Unchanged and Moved are
// successes; the others name the failure and decide when to ask again.
type Class string

// The classes of a Report.
const (
	Unchanged     Class = "unchanged"      // the tip is Want.Known
	Moved         Class = "moved"          // a new answer was written
	Unreachable   Class = "unreachable"    // refused, no route, DNS
	TimedOut      Class = "timeout"        // hung or too slow
	TLSFailed     Class = "tls"            // certificate or handshake
	AuthFailed    Class = "auth"           // 401, 403, SSH key refused
	HostKey       Class = "host-key"       // SSH host key is not the pinned one
	NotFound      Class = "not-found"      // 404, no such repository
	Throttled     Class = "throttled"      // 429 or 503 with Retry-After
	ServerError   Class = "server-error"   // 5xx
	MissingBranch Class = "missing-branch" // the repository has no such branch
	EmptyRepo     Class = "empty"          // the repository has no branch at all
	BadData       Class = "bad-data"       // truncated or malformed pack
	OverLimit     Class = "limit"          // more than the settings allow
	NoSpace       Class = "no-space"       // disk full
	Internal      Class = "internal"       // the fetching process failed by itself
)

// Report is what the fetching process says of one request, at most 4 KiB of
// JSON. Nothing in it is trusted: it may change only the time of the next poll
// and what status shows, escaped.
type Report struct {
	Format     int           `json:"format"`
	Request    uint64        `json:"request"`
	Class      Class         `json:"class"`
	Text       string        `json:"text,omitempty"` // one line for people
	Remote     string        `json:"remote,omitempty"`
	Protocol   string        `json:"protocol,omitempty"` // "v2", "v1", "v0", "local"
	HTTPStatus int           `json:"httpStatus,omitempty"`
	RetryAfter time.Duration `json:"retryAfter,omitempty"` // nanoseconds
	Tip        string        `json:"tip,omitempty"`
	Bytes      int64         `json:"bytes,omitempty"` // read from the network for this request
	// NetworkUp is set later in the report of a failure, when an address or a
	// route has appeared since: it is worth asking again now.
	NetworkUp bool `json:"networkUp,omitempty"`
}

// ReportLimit is the most bytes of a Report that are read.
const ReportLimit = 4 << 10

// DecodeReport reads a report strictly.
func DecodeReport(raw []byte) (Report, error) {
	var r Report
	if len(raw) > ReportLimit {
		return r, fmt.Errorf("report is over %d bytes", ReportLimit)
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("report: %w", err)
	}
	if r.Format != StreamFormat {
		return r, fmt.Errorf("report has format %d, want %d", r.Format, StreamFormat)
	}
	return r, nil
}

// StreamHeader is the first line of an object stream:
// "pullnode-stream <format> <request> <tip>\n". After it every record is
// "<oid> <type> <size>\n", size bytes and "\n", as git cat-file --batch prints
// them, each object once, in this order:
//
//  1. with Want.Ancestry: every ancestor of T, bare commits, parents first
//  2. T's commit, its root tree, its .pullnode tree and everything below that
//     (left out, with 1, when the tip's history does not hold T)
//  3. parents before children, every commit reachable from the tip but not from
//     T (where 2 was left out: not from T's parents): the commit, its root
//     tree, its .pullnode tree and everything below that
//  4. the rest of the tip's tree, depth first in tree order: a tree, then its
//     entries
//
// An object that was written before is not written again, but what is below a
// tree that was written before still is.
type StreamHeader struct {
	Request uint64
	Tip     string
}

// String gives the header line with its line feed.
func (h StreamHeader) String() string {
	return fmt.Sprintf("pullnode-stream %d %d %s\n", StreamFormat, h.Request, h.Tip)
}
