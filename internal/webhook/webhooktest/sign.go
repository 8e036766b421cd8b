package webhooktest

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // some senders sign with HMAC-SHA1
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/usher-dev/usher/internal/webhook"
)

// Sign adds to header what a sender of this kind sends to prove a request, as of a moment. It is written
// without the verifier's code, so that the two check each other; url is the sender's, with its query.
func Sign(v webhook.Verify, secret string, header http.Header, method, url string, body []byte, at time.Time) error {
	switch v.Kind {
	case "none", "path_token":
		return nil
	case "token":
		header.Set(v.Header, v.Prefix+secret)
		return nil
	case "stripe":
		for name, values := range SignStripe(body, secret, at) {
			header[name] = values
		}
		return nil
	}
	ts := timeText(v, at)
	if v.TSHeader != "" {
		header.Set(v.TSHeader, ts)
	}
	signed, err := expand(v, secret, header, method, url, ts, body)
	if err != nil {
		return err
	}
	signature, err := digest(v, secret, signed)
	if err != nil {
		return err
	}
	header.Set(v.Header, format(v, signature, ts))
	return nil
}

func timeText(v webhook.Verify, at time.Time) string {
	switch v.TSUnit {
	case "ms":
		return strconv.FormatInt(at.UnixMilli(), 10)
	case "rfc3339":
		return at.UTC().Format(time.RFC3339)
	default:
		return strconv.FormatInt(at.Unix(), 10)
	}
}

// expand replaces the placeholders from left to right, so that none in the body counts.
func expand(v webhook.Verify, secret string, header http.Header, method, url, ts string, body []byte) ([]byte, error) {
	if v.BodySelect == "first_array_element" {
		var batch []json.RawMessage
		if json.Unmarshal(body, &batch) == nil && len(batch) > 0 {
			body = batch[0]
		}
	}
	known := map[string]string{"body": string(body), "ts": ts, "method": method, "url": url, "secret": secret}
	var signed strings.Builder
	for rest := v.Signed; rest != ""; {
		before, after, found := strings.Cut(rest, "{")
		signed.WriteString(before)
		if !found {
			break
		}
		name, after, _ := strings.Cut(after, "}")
		value, ok := known[name]
		if headerName, isHeader := strings.CutPrefix(name, "header:"); isHeader {
			value, ok = header.Get(headerName), true
		}
		if !ok {
			return nil, fmt.Errorf("sign: there is no placeholder {%s}", name)
		}
		signed.WriteString(value)
		rest = after
	}
	return []byte(signed.String()), nil
}

func digest(v webhook.Verify, secret string, signed []byte) ([]byte, error) {
	newHash := map[string]func() hash.Hash{"": sha256.New, "sha256": sha256.New, "sha1": sha1.New, "sha512": sha512.New}[v.Algorithm]
	if v.Kind == "hash" {
		sum := newHash()
		sum.Write(signed)
		return sum.Sum(nil), nil
	}
	key := []byte(secret)
	if len(v.KeyCoding) > 0 && v.KeyCoding[0] != "raw" {
		decode := map[string]func(string) ([]byte, error){"base64": base64.StdEncoding.DecodeString, "hex": hex.DecodeString}[v.KeyCoding[0]]
		var err error
		if key, err = decode(strings.TrimPrefix(secret, v.KeyPrefix)); err != nil {
			return nil, fmt.Errorf("sign: the secret cannot be decoded as %s", v.KeyCoding[0])
		}
	}
	mac := hmac.New(newHash, key)
	mac.Write(signed)
	return mac.Sum(nil), nil
}

func format(v webhook.Verify, signature []byte, ts string) string {
	text := hex.EncodeToString(signature)
	switch v.Encoding {
	case "base64":
		text = base64.StdEncoding.EncodeToString(signature)
	case "base64url":
		text = base64.RawURLEncoding.EncodeToString(signature)
	}
	text = v.Prefix + text
	separator, key := v.PairSep, v.SigKey
	switch v.Format {
	case "kv":
		if separator == "" {
			separator = ","
		}
		text = key + "=" + text
		if v.TSKey != "" {
			text = v.TSKey + "=" + ts + separator + text
		}
	case "list":
		if key == "" {
			key = "v1"
		}
		text = key + "," + text
	}
	return text
}

// Secret makes a secret that a scheme can read, which nobody uses.
func Secret(v webhook.Verify) string {
	random := sha256.Sum256([]byte(StripeID("secret")))
	text := hex.EncodeToString(random[:])
	if len(v.KeyCoding) > 0 && v.KeyCoding[0] == "base64" {
		text = base64.StdEncoding.EncodeToString(random[:])
	}
	if v.Kind == "token" && strings.EqualFold(v.Prefix, "Basic ") {
		text = base64.StdEncoding.EncodeToString([]byte("usher:" + text))
	}
	return v.KeyPrefix + text
}
