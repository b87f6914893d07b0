package api

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"dove.network/backup"
	"dove.network/dove"
	"dove.network/world"
)

// backupType is the media type of a backup.
const backupType = "application/vnd.dove.backup"

func (s *server) backups() {
	register(s, huma.Operation{
		OperationID: "get-backup", Method: http.MethodGet, Path: "/v1/backup", Tags: []string{"system"},
		Summary:     "Take a backup: all documents at one revision, and the authority",
		Description: "dpc restore takes it. It holds the authority's key: keep it as secret as a member's state folder. An answer that ends early is no backup; its end has a checksum, which dpc backup checks.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The backup.",
			Content:     map[string]*huma.MediaType{backupType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
		}},
	}, func(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
		w, err := s.read(ctx, Freshness{})
		if err != nil {
			return nil, err
		}
		key, err := s.Authority.KeyPEM()
		if err != nil {
			return nil, err
		}
		header := backup.Header{
			Program: s.Version, Member: s.Member, Created: s.Now().UTC(), Incarnation: strconv.FormatUint(w.Incarnation(), 16),
			Certificate: string(s.Authority.CertificatePEM()), Key: string(key),
		}
		return &huma.StreamResponse{Body: func(answer huma.Context) {
			_, out := humago.Unwrap(answer)
			answer.SetHeader("Content-Type", backupType)
			answer.SetStatus(http.StatusOK)
			err := backup.Write(outlasting{out, http.NewResponseController(out)}, header, func(page func([]dove.Doc) error) (dove.Revision, error) {
				return s.Store.Load(ctx, world.Prefix, page)
			})
			if err != nil {
				s.Log.Warn("a backup was not finished", "error", err)
				panic(http.ErrAbortHandler) // the client must not take it for an end
			}
			s.Log.Info("a backup was taken", "from", answer.RemoteAddr())
		}}, nil
	})
}

// outlasting writes to a reader that may take its time, as long as it reads.
type outlasting struct {
	io.Writer
	control *http.ResponseController
}

func (p outlasting) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(lineTimeout)); err != nil {
		return 0, err
	}
	n, err := p.Writer.Write(b)
	if err == nil {
		err = p.control.SetWriteDeadline(time.Time{})
	}
	return n, err
}
