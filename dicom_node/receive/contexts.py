"""The storage SOP classes and transfer syntaxes that the receiver accepts."""

from __future__ import annotations

from pydicom import uid

ANALYSABLE_SOP_CLASSES: tuple[uid.UID, ...] = (
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.VLMicroscopicImageStorage,
    uid.VLSlideCoordinatesMicroscopicImageStorage,
    uid.VLWholeSlideMicroscopyImageStorage,
)
"""Images, which a model may read."""

STORED_ONLY_SOP_CLASSES: tuple[uid.UID, ...] = (
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.Comprehensive3DSRStorage,
    uid.XRayRadiationDoseSRStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.SegmentationStorage,
    uid.ParametricMapStorage,
    uid.EncapsulatedPDFStorage,
)
"""What travels with a study and is kept, but never analysed."""

ACCEPTED_SOP_CLASSES = ANALYSABLE_SOP_CLASSES + STORED_ONLY_SOP_CLASSES

TRANSFER_SYNTAXES: tuple[uid.UID, ...] = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
)
"""Each is accepted for every SOP class; objects are stored in the syntax in which they arrive."""
