package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"testing"
)

var screenshots = flag.String("screenshots", "", "where TestScreenshots writes its pictures, see make screenshots")

// mostPicture is how large a picture may be that everybody fetches with the code.
const mostPicture = 150 << 10

// TestScreenshots takes the pictures that the README shows.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip(`only for "make screenshots"`)
	}
	h := openHouse(t, furnished)
	inEveryState(h)
	b := h.enter()
	for _, shot := range []struct {
		name   string
		path   string
		scheme string // light when empty
		width  int64  // 1280 when 0
		height int64  // 800 when 0
	}{
		{name: "overview", path: "/admin"},
		{name: "overview-dark", path: "/admin", scheme: "dark"},
		{name: "invitations", path: "/admin/invitations"},
		{name: "invitations-phone", path: "/admin/invitations", width: phoneWidth, height: 844},
		{name: "invitation", path: fmt.Sprint("/admin/invitations/", h.invitation("elliot@evilcorp.example", "failed"))},
		{name: "invite", path: "/admin/invite"},
		{name: "source", path: "/admin/sources/stripe"},
		{name: "rules", path: "/admin/rules"},
	} {
		b.window(cmp.Or(shot.width, 1280), cmp.Or(shot.height, 800))
		b.media(cmp.Or(shot.scheme, "light"))
		b.visit(shot.path)
		b.save(shot.name)
	}
}

// save writes what there is to see, packed as tightly as PNG can.
func (b *tab) save(name string) {
	b.t.Helper()
	picture, err := png.Decode(bytes.NewReader(b.shot()))
	b.must("read the picture", err)
	var packed bytes.Buffer
	b.must("pack the picture", (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&packed, picture))
	if packed.Len() > mostPicture {
		b.t.Errorf("%s.png has %d bytes, more than %d", name, packed.Len(), mostPicture)
	}
	b.must("write the picture", os.WriteFile(filepath.Join(*screenshots, name+".png"), packed.Bytes(), 0o644))
}
