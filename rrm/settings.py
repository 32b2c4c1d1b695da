"""Django's settings, all derived from the environment by `rrm.config`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from uuid import UUID

from rrm.config import RrmConfig, database_settings

RRM = RrmConfig.from_environ(os.environ)
RRM.data_dir.mkdir(parents=True, exist_ok=True)
BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = RRM.secret_key
DEBUG = RRM.debug
ALLOWED_HOSTS = list(RRM.allowed_hosts)
CSRF_TRUSTED_ORIGINS = list(RRM.trusted_origins)
ROOT_URLCONF = "rrm.urls"
ASGI_APPLICATION = "rrm.asgi.application"

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rrm.farm",
    "rrm.api",
    "rrm.dashboard",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "rrm.dashboard.security.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": database_settings(RRM.database_url)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"

# What is counted against guessed passwords. Each process has its own; thousands of made-up accounts do not push it out.
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 100_000}},
}

# Whoever is told when a resource cannot be started any more; without them the log and the pages say so.
ADMINS = [("", address) for address in RRM.operators]
EMAIL_HOST, EMAIL_PORT = RRM.mail_host
EMAIL_TIMEOUT = 10
SERVER_EMAIL = RRM.mail_from
EMAIL_SUBJECT_PREFIX = "[RRM] "

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
USE_I18N = False

STATIC_URL = "/static/"
STATIC_ROOT = RRM.data_dir / "static"
WHITENOISE_USE_FINDERS = RRM.embedded
WHITENOISE_MAX_AGE = 3600 if not RRM.embedded else 0

DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 2**20
# The results of a range arrive as one body: held in memory up to this size, so that it is written to disk once.
FILE_UPLOAD_MAX_MEMORY_SIZE = 64 * 2**20

# A page of this service never needs another host, a plug-in, or to be framed.
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
# Two copies on one host share cookies between ports; a name per port keeps their logins apart.
SESSION_COOKIE_NAME = f"rrm-session-{RRM.port}"
CSRF_COOKIE_NAME = f"rrm-csrf-{RRM.port}"
if not RRM.embedded:
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
    SECURE_HSTS_SECONDS = 31536000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rrm.api.auth.TokenAuthentication", "rrm.api.auth.LoginAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rrm.api.auth.ScopePermission"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rrm.api.parsers.StrictJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "rrm.api.pagination.CursorPages",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "rrm.api.schema.ProblemSchema",
    "EXCEPTION_HANDLER": "rrm.api.errors.problem_response",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Rendering resource manager",
    "VERSION": "2",
    "DESCRIPTION": "Render jobs, rendering resources and the nodes that serve them. "
    "Errors are `application/problem+json` (RFC 9457) with a stable `code`.",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "/static/dashboard/favicon.svg",
    "COMPONENT_SPLIT_REQUEST": True,
    "PATH_CONVERTER_OVERRIDES": {"id": UUID},
    "SCHEMA_PATH_PREFIX": r"/rendering-resource-manager/v2/",
}

UNFOLD = {
    "SITE_TITLE": "RRM",
    "SITE_HEADER": "RRM",
    "SITE_SUBHEADER": "Rendering resources",
    "SITE_URL": "/",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "/static/dashboard/favicon.svg"}],
}


def _as_warning(record: logging.LogRecord) -> bool:
    """A wrong Host header is the sender's mistake: it is worth one line, and no traceback."""
    record.levelno, record.levelname = logging.WARNING, "WARNING"
    record.exc_info = record.exc_text = None
    return True


LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    # 503 is an answer, not a fault: /readyz gives it until everything is up.
    "filters": {
        "faults": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: getattr(record, "status_code", 500) != 503,
        },
        "warning": {"()": "django.utils.log.CallbackFilter", "callback": _as_warning},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django.request": {"level": "ERROR", "filters": ["faults"]},
        "django.security.DisallowedHost": {"filters": ["warning"]},
        "httpx": {"level": "WARNING"},
        # Every tick of every loop is worth no line; what the loops do is told by events.
        "celery": {"level": "WARNING"},
    },
}
