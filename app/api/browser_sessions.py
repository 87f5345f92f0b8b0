"""`/v1/session`: opens, shows and closes the session of a web browser."""

from fastapi import APIRouter, Request, Response

from app.api.strict_route import StrictRoute
from app.deps import BrowserSessionsDep
from app.http.browser_sessions import choose_cookie_name, get_session_token, requires_secure_cookie
from app.http.middleware import get_session_key
from app.http.rate_limit import get_api_key
from app.schemas.browser_sessions import SessionIn, SessionOut
from app.schemas.problems import problem_responses
from app.services.browser_sessions import BrowserSession, get_key_id

router = APIRouter(prefix="/v1/session", tags=["system"], route_class=StrictRoute)

NO_STORE = {"Cache-Control": "no-store"}


@router.post("", status_code=201, responses=problem_responses(400, 401, 403, 409, 413, 415, 422))
async def open_session(
    body: SessionIn, sessions: BrowserSessionsDep, request: Request, response: Response
) -> SessionOut:
    """Open a session.

    For web pages of this service: checks the API key in the body and sets a cookie, which authenticates later requests
    in place of `Authorization`. Pages cannot read the cookie, and other sites cannot send it. With the cookie, requests
    that can change something must be sent by a page of this service. Except on loopback, the cookie requires HTTPS. The
    session ends when it is not used for a while, at the end of its lifetime, and when its key is removed. Returns 409
    if the service has no API keys.
    """
    opened = await sessions.open(body.key.get_secret_value())
    response.headers.update(NO_STORE)
    max_age_s = int((opened.session.expires_at - opened.session.created_at).total_seconds())
    set_cookie(request, response, opened.token, max_age_s)
    return describe_session(opened.session)


@router.get("")
async def show_session(sessions: BrowserSessionsDep, request: Request, response: Response) -> SessionOut:
    """Get the current session.

    Returns how this request is authenticated, and when the session ends.
    """
    response.headers.update(NO_STORE)
    token = get_session_token(request.scope)
    if get_session_key(request.scope) is not None and token is not None:
        session = await sessions.find(token)
        if session is not None:
            return describe_session(session)
    key_id = get_key_id(get_api_key(request.scope).decode("latin-1")) if sessions.has_keys else None
    return SessionOut(
        authentication="key" if sessions.has_keys else "none",
        key_id=key_id,
        created_at=None,
        expires_at=None,
        idle_expires_at=None,
    )


@router.delete("", status_code=204, responses=problem_responses(403))
async def close_session(sessions: BrowserSessionsDep, request: Request, response: Response) -> None:
    """Close the current session.

    Ends the session and removes its cookie. Without a session, this has no effect.
    """
    response.headers.update(NO_STORE)
    token = get_session_token(request.scope)
    if token is not None:
        await sessions.close(token)
        set_cookie(request, response, "", 0)


def set_cookie(request: Request, response: Response, token: str, max_age_s: int) -> None:
    """Set the cookie of a session; with an age of 0, remove it."""
    response.set_cookie(
        choose_cookie_name(request.scope),
        token,
        max_age=max_age_s,
        path="/",
        secure=requires_secure_cookie(request.scope),
        httponly=True,
        samesite="strict",
    )


def describe_session(session: BrowserSession) -> SessionOut:
    """Return the response for a session."""
    return SessionOut(
        authentication="session",
        key_id=get_key_id(session.key),
        created_at=session.created_at,
        expires_at=session.expires_at,
        idle_expires_at=session.idle_expires_at,
    )
