package s3

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	smithy "github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"walkeep/storage"
)

// code is the S3 error code of the answer, "" if there was none.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// status is the HTTP status of the answer, 0 if there was none.
func status(err error) int {
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) && resp.Response != nil && resp.Response.Response != nil {
		return resp.HTTPStatusCode()
	}
	return 0
}

func isNotImplemented(err error) bool {
	return status(err) == http.StatusNotImplemented || code(err) == "NotImplemented"
}

// isBadCredentials reports whether the store doesn't know the credentials, or not any more. AccessDenied is
// not among them: it knows who asks and says no.
func isBadCredentials(err error) bool {
	switch code(err) {
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken", "InvalidAccessKeyId",
		"SignatureDoesNotMatch", "InvalidClientTokenId", "UnrecognizedClientException":
		return true
	}
	return false
}

// classify adds the sentinel that the answer means. An answer it doesn't know stays what it is: unknown.
func (s *Store) classify(err error) error {
	if err == nil {
		return nil
	}
	status := status(err)
	var sentinel error
	switch c := code(err); {
	case status == http.StatusPreconditionFailed || c == "PreconditionFailed":
		sentinel = storage.ErrExists
	case c == "NoSuchKey":
		sentinel = storage.ErrNotFound
	case c == "NoSuchBucket":
		sentinel = fmt.Errorf("%w: there is no bucket %q", storage.ErrNoBucket, s.cfg.Bucket)
	case status == http.StatusMovedPermanently || c == "PermanentRedirect" || c == "AuthorizationHeaderMalformed":
		sentinel = fmt.Errorf("%w: bucket %q is in another region: set WALKEEP_S3_REGION", storage.ErrNoBucket, s.cfg.Bucket)
	case c == "RequestTimeTooSkewed" || c == "RequestInTheFuture":
		return s.clockError(err)
	case isBadCredentials(err), status == http.StatusUnauthorized, status == http.StatusForbidden:
		sentinel = storage.ErrDenied
	default:
		return err
	}
	return fmt.Errorf("%w: %w", sentinel, err)
}

// clockError names what is wrong in terms of this host. It is neither denied nor permanent: the next request
// is signed with the store's time.
func (s *Store) clockError(err error) error {
	skew := s.clock.ClockSkew().Round(time.Second)
	relation := fmt.Sprintf("%s behind", skew)
	if skew < 0 {
		relation = fmt.Sprintf("%s ahead of", -skew)
	}
	return fmt.Errorf("the clock of this host is %s the store's, which therefore refuses requests: "+
		"check time synchronization: %w", relation, err)
}
