"""This hospital's cache and its copy of the study's autoencoder, or what the coordinator hears of why they cannot be used."""

import logging

from client.cache.cipher import CacheKeyUnusable
from client.cache.layout import CacheDamaged, CacheMissing, CacheOutdated, CacheUnusable
from client.cache.records import Records, open_cache_of
from client.config import SiteConfig
from client.device import best_device
from client.refused import NotTaken
from client.training_records import EncodedRecords
from federation.config import StudyConfig
from federation.messages import RefusalCode
from model.codec.autoencoder_folder import WrongCodec
from model.codec.diffusers_codec import DiffusersMissing
from model.codec.opening import CodecMissing, open_codec

logger = logging.getLogger(__name__)


def open_site_cache(site: SiteConfig) -> Records:
    """This hospital's cache, whatever it holds."""
    try:
        return open_cache_of(site)
    except CacheMissing as err:
        reason = "the hospital has no cache: its data manager types `fedcxr hospital ingest`"
        raise NotTaken(RefusalCode.NO_CACHE, reason) from err
    except (CacheUnusable, CacheKeyUnusable) as err:
        raise not_usable(err) from err


def not_usable(err: CacheUnusable | CacheKeyUnusable) -> NotTaken:
    """What the coordinator hears of a cache that cannot be read; the whole sentence names paths."""
    logger.error("%s", err)
    what = "damaged: its data manager types `fedcxr hospital ingest --rebuild`"
    if isinstance(err, CacheOutdated):
        what = "outdated: its data manager types `fedcxr hospital ingest`"
    elif not isinstance(err, CacheDamaged):
        what = "locked: its data manager corrects the key of the cache"
    return NotTaken(RefusalCode.CACHE, f"the hospital's cache is {what}")


def open_records(site: SiteConfig, study: StudyConfig) -> Records:
    """This hospital's cache, if it fits the study."""
    records = open_site_cache(site)
    held, wanted = records.image_size, study.model.image_size
    if held != wanted or records.findings != study.findings:
        reason = (
            f"the hospital's cache holds {held}-pixel radiographs with {len(records.findings)} findings, the study "
            f"needs {wanted} pixels and {len(study.findings)} findings: its data manager sets image_size and "
            f"findings and types `fedcxr hospital ingest`"
        )
        raise NotTaken(RefusalCode.CACHE, reason)
    if records.num_training == 0:
        raise NotTaken(RefusalCode.CACHE, "the hospital's cache holds no radiograph to train on")
    return records


def as_network_sees(records: Records, site: SiteConfig, study: StudyConfig) -> EncodedRecords:
    """The records as pixels, or through the hospital's copy of the study's autoencoder.

    A hospital with an autoencoder takes part in studies of pixels too.
    """
    digest = study.model.codec_digest
    path = None if digest is None else site.codec_path
    try:
        codec = open_codec(study.model_config, digest, path, device=best_device())
    except (CodecMissing, WrongCodec, DiffusersMissing) as err:
        raise no_autoencoder(err, str(digest)) from err
    return EncodedRecords(records=records, codec=codec)


def no_autoencoder(err: CodecMissing | WrongCodec | DiffusersMissing, digest: str) -> NotTaken:
    """What the coordinator hears of an autoencoder that is not there; the whole sentence names paths."""
    logger.error("%s", err)
    what = "has no copy of" if isinstance(err, CodecMissing) else "cannot use its copy of"
    reason = (
        f"the hospital {what} the study's autoencoder {digest[:12]}: its data manager sets codec_path to the "
        f"folder that holds it and types `fedcxr model codec` on that folder"
    )
    return NotTaken(RefusalCode.STUDY, reason)
