"""Blocks: nodes and machines that are given no work, until they are forgiven."""

from __future__ import annotations

from typing import Any, ClassVar

import django_filters
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from rrm.api.auth import Scope, access
from rrm.api.fields import StrictModelSerializer
from rrm.api.filters import Filters, YesOrNo
from rrm.api.views import ApiView, ListView
from rrm.farm import blocking
from rrm.farm.models import Block


class BlockSerializer(StrictModelSerializer):
    """A node, or with an empty `node` every node of a machine, that is given no work of a renderer."""

    in_force = serializers.SerializerMethodField(help_text="Nobody has forgiven it yet.")

    class Meta:
        model = Block
        fields: ClassVar = [
            *("id", "site", "hostname", "node", "renderer", "reason", "created_at", "until", "in_force", "lifted_by"),
        ]

    def get_in_force(self, block: Block) -> bool:
        return block.until > timezone.now()


class BlockFilters(Filters):
    site = django_filters.CharFilter(field_name="site_id")
    renderer = django_filters.CharFilter()
    in_force = YesOrNo(method="by_force")

    def by_force(self, blocks: QuerySet[Block], name: str, value: bool) -> QuerySet[Block]:
        now = timezone.now()
        return blocks.filter(until__gt=now) if value else blocks.filter(until__lte=now)


class Blocks(ListView):
    scopes = {"GET": Scope.OPERATE}
    queryset = Block.objects.all()
    filterset_class = BlockFilters
    serializer_class = BlockSerializer
    ordering_fields = ("-created_at", "until")

    @extend_schema(operation_id="block_list", responses=BlockSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List what was blocked, the newest first."""
        blocks: Any = Block.objects.all()
        return self.page(blocks)


class BlockDetail(ApiView):
    scopes = {"GET": Scope.OPERATE, "DELETE": Scope.OPERATE}

    @extend_schema(operation_id="block_retrieve", responses=BlockSerializer)
    def get(self, request: Request, id: int) -> Response:
        """Show a block."""
        return Response(BlockSerializer(get_object_or_404(Block, pk=id)).data)

    @extend_schema(operation_id="block_forgive", responses={204: None})
    def delete(self, request: Request, id: int) -> Response:
        """Forgive: the node or machine may work again from now on. Doing it twice is the same as doing it once."""
        block = get_object_or_404(Block.objects.select_related("site"), pk=id)
        blocking.forgive(block, access(request).user.get_username())
        return Response(status=204)
