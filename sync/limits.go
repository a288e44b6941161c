package sync

// Limits bound what an answer may hold. The zero value of a field means its
// default.
type Limits struct {
	Commits  int   `json:"commits,omitempty"`  // new commits in one answer; default 50,000
	Records  int64 `json:"records,omitempty"`  // bytes of records before the tip's tree; default 64 MiB
	Stream   int64 `json:"stream,omitempty"`   // bytes of the whole answer; default 3 GiB
	Object   int64 `json:"object,omitempty"`   // bytes of one object; default 64 MiB
	Files    int   `json:"files,omitempty"`    // files of the tip's tree; default 200,000
	TreeSize int64 `json:"treeSize,omitempty"` // bytes of the tip's tree; default 2 GiB
	Depth    int   `json:"depth,omitempty"`    // nested directories; default 64
}

func (l Limits) withDefaults() Limits {
	orInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	or64 := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	orInt(&l.Commits, 50_000)
	or64(&l.Records, 64<<20)
	or64(&l.Stream, 3<<30)
	or64(&l.Object, 64<<20)
	orInt(&l.Files, 200_000)
	or64(&l.TreeSize, 2<<30)
	orInt(&l.Depth, 64)
	return l
}
