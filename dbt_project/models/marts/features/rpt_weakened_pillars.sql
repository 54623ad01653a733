with

final as (

    select
        pillar,
        column_name,
        reason,
        features,
        cast(feature_count as bigint) as feature_count,
        cast(pillar_null_count as bigint) as pillar_null_count,
        cast(null_count as bigint) as null_count
    from {{ source('features', 'weakened_pillars') }}

)

select * from final
