"""The inventory: what was issued, to whom, who asked for it, and who holds it now."""

from __future__ import annotations

from starlette.responses import Response

from sds.admin.pages import common
from sds.admin.pages.fleet import shown
from sds.admin.pages.site import Site
from sds.admin.pages.visit import Visit

FILTERS = (
    "serial", "spiffe_id", "below", "key_hash", "owner", "entry_id", "agent_id", "authority_id", "profile", "state",
    "expires_after", "expires_before", "issued_after", "issued_before", "sort",
)  # fmt: skip


class CertificatePages:
    def mount(self, site: Site) -> None:
        site.show("/certificates", self.find)
        site.act("/certificates", self.find_pem)
        site.show("/certificates/{serial}", self.get)

    async def find(self, visit: Visit) -> Response:
        panel = await visit.panel("/v1/certificates", common.list_query(visit, *FILTERS))
        return visit.page(
            "certificates.html",
            status=panel.status,
            panel=panel,
            query=common.kept(visit, *FILTERS),
            filtered=bool(visit.args(*FILTERS, "label")),
            pasted="",
        )

    async def find_pem(self, visit: Visit) -> Response:
        """What is known of a certificate that was pasted. It changes nothing; a URL is too short for it."""
        form = await visit.form()
        pasted = form.raw("pem")
        panel = await visit.panel("/v1/certificates:find", method="POST", body={"pem": pasted})
        status = int(panel.problem["status"]) if panel.problem else 200
        return visit.page("certificates.html", status=status, panel=panel, query=[], filtered=True, pasted=pasted)

    async def get(self, visit: Visit) -> Response:
        one = await visit.get(f"/v1/certificates/{visit.request.path_params['serial']}")
        return visit.page("certificate.html", one=one, holders=[shown(each) for each in one["holders"]])
